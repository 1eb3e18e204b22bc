// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

const (
	liveConnections = 200
	newEach         = 20 * time.Millisecond // 50 new connections a second
	// outage is what the product promises: new connections may fail for this long if
	// another server or agent is left.
	outage = time.Second
	// outageGuard is how long an outage may last on a slow machine before a test fails.
	outageGuard = 3 * outage
)

// pair is two servers and two agents.
var pair = lab.Options{Servers: 2, Agents: 2}

// TestOneOfTwoServersIsKilled: if one of two servers is killed, connections through it
// are reset. Connections through the other do not notice. New ones fail for at most a
// second, none silently.
func TestOneOfTwoServersIsKilled(t *testing.T) {
	for _, way := range []string{"two servers", "balancer"} {
		for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
			t.Run(fmt.Sprint(way, " ", mode), func(t *testing.T) {
				opts := pair
				opts.Mode = mode
				r := newBareRig(t, opts)
				r.apply(t)
				if way == "balancer" {
					r.start(t, "--proxy-server="+r.BalancedFrontend())
				} else {
					r.start(t)
				}
				live := r.startLive(t, liveConnections)
				doomed := r.busiest(t)
				through := r.established(t, doomed)
				t.Logf("%d of %d connections go through server %d", through, liveConnections, doomed.Index)
				if way == "two servers" && through > liveConnections*3/4 {
					t.Errorf("%d of %d connections go through one of two servers: the load is not spread", through, liveConnections)
				}
				fresh := r.startFresh(t)
				fresh.await(t, 25)
				doomed.Kill()
				killed := time.Now()
				fresh.await(t, 150)
				attempts := fresh.end(t)
				wantShortOutage(t, attempts)
				wantNoneSilent(t, attempts)
				logSlowest(t, attempts, killed)
				live.wantEnded(t, through, killed, syscall.ECONNRESET)
			})
		}
	}
}

// TestOneOfTwoAgentsIsKilled: if one of two agents is killed, new connections fail for at
// most a second. Connections through it end as if their targets had closed, because the
// server says nothing else (konnectivity.md 6). That is the only end that is not a reset.
func TestOneOfTwoAgentsIsKilled(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			opts := pair
			opts.Mode = mode
			r := newRig(t, opts)
			live := r.startLive(t, liveConnections)
			doomed := r.Agents[1]
			m, err := doomed.Metrics(labtest.Context(t, hang))
			if err != nil {
				t.Fatal(err)
			}
			through := int(m.Sum(lab.AgentEndpoints))
			t.Logf("%d of %d connections go through agent %d", through, liveConnections, doomed.Index)
			fresh := r.startFresh(t)
			fresh.await(t, 25)
			doomed.Kill()
			killed := time.Now()
			fresh.await(t, 150)
			attempts := fresh.end(t)
			wantShortOutage(t, attempts)
			logSlowest(t, attempts, killed)
			// Connections that the agent had just made end like the live ones.
			wantNoneSilent(t, slices.DeleteFunc(attempts, func(a attempt) bool { return a.start.Before(killed) }))
			live.wantEnded(t, through, killed, nil)
		})
	}
}

// TestRollingRestartOfTheServers: servers restart one after the other, as those of a
// Deployment do. Only the connections through them are lost. There is always one server
// to dial through.
func TestRollingRestartOfTheServers(t *testing.T) {
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			opts := pair
			opts.Mode = mode
			r := newRig(t, opts)
			for _, s := range r.Servers {
				fresh := r.startFresh(t)
				fresh.await(t, 25)
				ctx := labtest.Context(t, time.Minute)
				s.Stop(5 * time.Second)
				stopped := time.Now()
				fresh.await(t, 50)
				if err := s.Start(ctx); err != nil {
					t.Fatal(err)
				}
				fresh.await(t, 50) // the server's agents may not be connected yet
				if err := r.WaitTunnel(ctx); err != nil {
					t.Fatal(err)
				}
				fresh.await(t, 50)
				attempts := fresh.end(t)
				wantShortOutage(t, attempts)
				wantNoneSilent(t, attempts)
				logSlowest(t, attempts, stopped)
				// The next server is restarted only when this one carries connections
				// again.
				r.wantCarries(t, s)
			}
		})
	}
}

// wantCarries waits until connections go through a server again.
func (r *rig) wantCarries(t *testing.T, s *lab.Server) {
	t.Helper()
	eventually(t, s.Name+" to carry connections again", func(ctx context.Context) error {
		var conns []net.Conn
		defer func() {
			for _, c := range conns {
				_ = c.Close()
			}
		}()
		for range 4 {
			conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1), target.EchoPort)
			if err != nil {
				return err
			}
			conns = append(conns, conn)
			if err := exchange(conn, []byte("x")); err != nil {
				return err
			}
		}
		m, err := s.Metrics(ctx)
		if err == nil && m.Sum(lab.ServerEstablished) == 0 {
			err = errors.New("none of 4 connections goes through it")
		}
		return err
	})
}

// busiest returns the server with the most connections.
func (r *rig) busiest(t *testing.T) *lab.Server {
	t.Helper()
	return slices.MaxFunc(r.Servers, func(a, b *lab.Server) int { return r.established(t, a) - r.established(t, b) })
}

func (r *rig) established(t *testing.T, s *lab.Server) int {
	t.Helper()
	m, err := s.Metrics(labtest.Context(t, hang))
	if err != nil {
		t.Fatal(err)
	}
	return int(m.Sum(lab.ServerEstablished))
}

// exchange sends a message to an echo target and expects it back.
func exchange(conn net.Conn, message []byte) error {
	if _, err := conn.Write(message); err != nil {
		return err
	}
	got := make([]byte, len(message))
	if n, err := io.ReadFull(conn, got); err != nil {
		if n == 0 && errors.Is(err, io.EOF) {
			return io.EOF
		}
		return err
	}
	if string(got) != string(message) {
		return fmt.Errorf("%q came back as %q", message, got)
	}
	return nil
}
