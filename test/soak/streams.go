// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"sync"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// burstSize is how many apps dial at once after a server that allows few streams has come
// back.
const burstSize = 100

// newFewStreams puts nginx in front of a server. The real server allows any number of
// streams on a connection, and has no flag for it. HAProxy can deadlock
// (docs/balancers.md).
func (s *site) newFewStreams(ctx context.Context) error {
	s.balancer = s.lab.Servers[fewStreams].NewClientBalancer(lab.NginxGRPC)
	return s.balancer.Start(ctx)
}

// frontends returns the servers as the sidecar names them, in the order of the lab's.
func (s *site) frontends() []string {
	var all []string
	for i, server := range s.lab.Servers {
		if i == fewStreams && s.balancer != nil {
			all = append(all, s.balancer.Address())
			continue
		}
		all = append(all, server.Frontend())
	}
	return all
}

// allowFewStreams ends the balancer, which ends all its connections. It starts the
// balancer again with another limit, and lets many apps dial at once. Each of them must
// succeed.
func (s *site) allowFewStreams(ctx context.Context, d Disturbance, struck func()) error {
	s.balancer.Kill()
	struck()
	sleep(ctx, d.For)
	s.balancer.MaxStreams = int(d.Level)
	if err := s.balancer.Start(ctx); err != nil {
		return err
	}
	s.burstOf(ctx, "burst against few streams", burstSize)
	return nil
}

// burstOf makes short connections at once, and waits for their end. They are judged and
// counted like all others.
func (s *site) burstOf(ctx context.Context, kind string, n int) (outcomes []outcome) {
	var all sync.WaitGroup
	outcomes = make([]outcome, n)
	for i := range n {
		all.Go(func() {
			w := s.traffic.worker(ctx, kind)
			sc := script{up: 200, down: 2000, rounds: 1, targetCloses: true}
			a := w.open(whole, scriptPort, sc)
			w.play(a, sc, 0)
			w.done(a)
			outcomes[i] = a.outcome
		})
	}
	all.Wait()
	return outcomes
}
