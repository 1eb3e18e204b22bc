// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"sync"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// paused is the size of an upload whose target pauses. At most 16 MiB of it can be on the
// way, so the app waits as well.
const paused = 48 << 20

// newAnnex builds the lab of the targets that pause. They have a server, an agent and a
// sidecar of their own, since an agent stands still with its target.
func (s *site) newAnnex(ctx context.Context, cfg Config, mode lab.Mode) (err error) {
	say := func(format string, args ...any) { s.say("pausing targets: "+format, args...) }
	if s.annex, err = newSite(ctx, cfg, siteOptions{mode: mode, peers: 1}, say); err == nil {
		s.annex.logs += "-pausing-targets"
	}
	return err
}

// besideAnnex calls do while it watches the annex, and then checks the annex. Without an
// annex it only calls do.
func (s *site) besideAnnex(ctx context.Context, do func() error) error {
	if s.annex == nil {
		return do()
	}
	before, err := s.annex.warmUp(ctx)
	if err != nil {
		return fmt.Errorf("warm up the lab of the targets that pause: %w", err)
	}
	ended := s.annex.watch()
	err = do()
	ended()
	s.annex.tally.judgeSuspects()
	if err != nil {
		return err
	}
	return s.annex.checkEnd(ctx, before)
}

// pauseTarget makes uploads to targets that stop reading for a while. Every byte must
// arrive. A connection that is idle meanwhile must not be lost.
func (s *site) pauseTarget(ctx context.Context, d Disturbance, struck func()) error {
	const uploads = 2
	annex := s.annex
	if s.journal.exits {
		annex = s // its target stops no other
	}
	// Killing the sidecar ends all connections.
	stop := context.AfterFunc(ctx, annex.sidecar.Kill)
	defer stop()
	var all sync.WaitGroup
	all.Go(func() {
		w := annex.traffic.worker(ctx, "idle beside a target that pauses")
		sc := script{up: 100, down: 100, rounds: 2}
		a := w.open(whole, scriptPort, sc)
		for i := range sc.rounds {
			if i > 0 {
				w.think(d.For)
			}
			a.send(sc.up)
			a.receive(sc.down, 0)
		}
		a.leave()
		w.done(a)
	})
	for range uploads {
		all.Go(func() {
			w := annex.traffic.worker(ctx, "upload to a target that pauses")
			sc := script{up: paused, down: 10, rounds: 1, stop: d.For, targetCloses: true}
			a := w.open(whole, scriptPort, sc)
			w.play(a, sc, 0)
			w.done(a)
		})
	}
	struck()
	all.Wait()
	return ctx.Err()
}
