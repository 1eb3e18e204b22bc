// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// frontend is the mode of a server, and the mode that is configured for it.
type frontend struct{ speaks, configured tunnel.Mode }

// inBothModes runs test in a bubble for each mode, configured and found out.
func inBothModes(t *testing.T, test func(t *testing.T, f frontend)) {
	t.Helper()
	for _, f := range []frontend{
		{tunnel.ModeGRPC, tunnel.ModeGRPC},
		{tunnel.ModeGRPC, tunnel.ModeAuto},
		{tunnel.ModeHTTPConnect, tunnel.ModeHTTPConnect},
		{tunnel.ModeHTTPConnect, tunnel.ModeAuto},
	} {
		t.Run(string(f.configured+" "+f.speaks), func(t *testing.T) {
			inBubble(t, func(t *testing.T) { test(t, f) })
		})
	}
}

func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// pair has two servers of one host each, and a Dialer for them.
type pair struct {
	*fakeNet
	*Dialer
	a, b *host
}

func newPair(t *testing.T, f frontend) *pair {
	n := newNet(t)
	p := &pair{fakeNet: n, a: n.host(f, "10.0.0.1"), b: n.host(f, "10.0.0.2")}
	n.name("a", "10.0.0.1")
	n.name("b", "10.0.0.2")
	p.Dialer = n.dialer("a", "b")
	must(t, p.lookUpAll(t.Context()))
	return p
}

// newWatchedPair is newPair, with the watch of its Dialer running.
func newWatchedPair(t *testing.T, f frontend) *pair {
	p := newPair(t, f)
	p.run(p.Dialer)
	return p
}

// done closes all connections, and everything under test.
func (p *pair) done(conns ...connected) {
	for _, c := range conns {
		if c.err == nil {
			_ = c.Close()
		}
	}
	p.stop()
	p.end(p.Dialer)
}

// herd dials n times at once and returns when all dials have ended.
func herd(d *Dialer, n int) []connected {
	all := make([]connected, n)
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() { all[i] = dial(context.Background(), d) })
	}
	wg.Wait()
	return all
}

// steady begins a dial every 100 ms for d, and closes each connection. It returns the
// dials that did not succeed at once.
func (p *pair) steady(t *testing.T, d time.Duration) (slow []connected) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		wg.Go(func() {
			c := dial(context.Background(), p.Dialer)
			if c.err != nil {
				t.Errorf("a dial failed though one server is up: %v", c.err)
				return
			}
			_ = c.Close()
			if c.took > 0 {
				mu.Lock()
				slow = append(slow, c)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return slow
}

// uses reports whether new dials reach h within d.
func (p *pair) uses(h *host, d time.Duration) bool {
	before := h.counts().dials
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, c := range herd(p.Dialer, 2) {
			if c.err == nil {
				_ = c.Close()
			}
		}
		if h.counts().dials > before {
			return true
		}
	}
	return false
}

// TestStoppedServer: a server whose process hangs costs its present dials 5.5 s each,
// and later dials nothing. When its process goes on, it is used again.
func TestStoppedServer(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newWatchedPair(t, f)
		live := herd(p.Dialer, 2)
		p.a.becomes(hostStopped)
		for i, c := range herd(p.Dialer, 4) {
			if c.err != nil || (c.took != 0 && c.took != answerTimeout) {
				t.Errorf("dial %d: %v after %v, want success at once or after the server's %v", i, c.err, c.took, answerTimeout)
			}
			live = append(live, c)
		}
		if slow := p.steady(t, time.Minute); len(slow) > 0 {
			t.Errorf("%d later dials waited for the stopped server, the first for %v", len(slow), slow[0].took)
		}
		p.a.becomes(hostUp)
		if !p.uses(p.a, watchRetry+watchPause) {
			t.Error("the server goes on and is not used again")
		}
		for _, c := range live {
			c.alive(t, "a connection from before")
		}
		p.done(live...)
	})
}

// TestStoppedServerIsSuspected: a server that answers none of the dials that wait for
// it gets no more dials, long before these end.
func TestStoppedServerIsSuspected(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newWatchedPair(t, f)
		live := herd(p.Dialer, 40)
		for _, c := range live {
			if c.Server() == "a" { // the less loaded one then, even with the dials that wait
				_ = c.Close()
			}
		}
		time.Sleep(konnectivity.CloseGrace)
		p.a.becomes(hostStopped)
		slow := p.steady(t, answerTimeout)
		if most := int(suspectAfter/(100*time.Millisecond)) + 1; len(slow) == 0 || len(slow) > most {
			t.Errorf("%d dials waited, want some, and at most the %d of the first second", len(slow), most)
		}
		p.done(live...)
	})
}

// TestSilentAgent: a server that answers handshakes but no dials is tried by one dial
// at a time, at growing intervals.
func TestSilentAgent(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newWatchedPair(t, f)
		p.a.becomes(hostSilent)
		first := herd(p.Dialer, 8)
		if most := p.a.counts().most; most != 4 {
			t.Errorf("%d of 8 dials at once went to one of two servers, want half", most)
		}
		p.a.mu.Lock()
		p.a.most = 0
		p.a.mu.Unlock()
		before := p.a.counts().dials
		slow := p.steady(t, 2*time.Minute)
		if most := p.a.counts().most; most != 1 {
			t.Errorf("%d dials at once tried the silent server, want one", most)
		}
		// Each try takes 5.5 s, and the pause after it grows to 10 s.
		if trials := p.a.counts().dials - before; trials != len(slow) || trials < 8 || trials > 14 {
			t.Errorf("%d trials, and %d slow dials of 1,200 in two minutes; want 8 to 14", trials, len(slow))
		}
		p.a.becomes(hostUp)
		if !p.uses(p.a, maxBackoff*12/10+answerTimeout) {
			t.Error("the agent is back and its server is not used again")
		}
		p.done(first...)
	})
}

// TestNoAgent: a server without an agent costs dials no time.
func TestNoAgent(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newWatchedPair(t, f)
		p.a.becomes(hostNoAgent)
		if slow := p.steady(t, time.Minute); len(slow) > 0 {
			t.Errorf("%d dials waited, the first for %v", len(slow), slow[0].took)
		}
		if asked := p.a.counts().dials; asked < 6 || asked > 12 {
			t.Errorf("the server without an agent was asked %d times in a minute, want 6 to 12", asked)
		}
		p.a.becomes(hostUp)
		if !p.uses(p.a, maxBackoff*12/10) {
			t.Error("the agent is back and its server is not used again")
		}
		p.done()
	})
}

// TestServerRestarts: a server that dies costs dials nothing, and is used again soon
// after it is back.
func TestServerRestarts(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newWatchedPair(t, f)
		live := herd(p.Dialer, 4)
		p.a.becomes(hostRefuses)
		broken := 0
		for _, c := range live {
			if c.Server() != "a" {
				c.alive(t, "through the other server")
				continue
			}
			broken++
			if _, err := c.Receive(); !errors.Is(err, tunnel.ErrBroken) {
				t.Errorf("a connection through the dead server ended with %v, want ErrBroken", err)
			}
		}
		if broken != 2 {
			t.Errorf("%d of 4 connections went through the dead server, want 2", broken)
		}
		if slow := p.steady(t, time.Minute); len(slow) > 0 {
			t.Errorf("%d dials waited for a dead server, the first for %v", len(slow), slow[0].took)
		}
		if up := testutil.ToFloat64(p.metrics.serverUp.WithLabelValues("a")); up != 0 {
			t.Error("server_up of the dead server is still 1")
		}
		for server, want := range map[string]bool{"a": true, "b": false} {
			if n := testutil.ToFloat64(p.metrics.failures.WithLabelValues(server, string(tunnel.ReasonServerUnreachable))); n > 0 != want {
				t.Errorf("server %s has %v failures, and that it has some should be %t", server, n, want)
			}
		}
		if n := p.a.counts().connects; n > 40 {
			t.Errorf("%d attempts to connect in a minute, want one every 3 s after the first few", n)
		}
		p.a.becomes(hostUp)
		if !p.uses(p.a, watchRetry*12/10+watchPause) {
			t.Error("the server is back and not used again")
		}
		if up := testutil.ToFloat64(p.metrics.serverUp.WithLabelValues("a")); up != 1 {
			t.Error("server_up of the server that came back is still 0")
		}
		p.done(live...)
	})
}

// TestBlackHole: a server from which no packet comes back costs the first dials the
// time of a connect. If the watch has noticed it before, it costs them nothing. Without
// a watch it costs one dial now and then.
func TestBlackHole(t *testing.T) {
	for _, watched := range []bool{true, false} {
		inBothModes(t, func(t *testing.T, f frontend) {
			p := newPair(t, f)
			p.a.becomes(hostDropped)
			want := 10 // pauses of up to 10 s
			if watched {
				want = 0
				p.run(p.Dialer)
				time.Sleep(serverconn.AddressTimeout + time.Millisecond)
			}
			first := p.steady(t, serverconn.AddressTimeout) // they begin before the state is known
			if watched && len(first) > 0 {
				t.Errorf("%d dials waited, though the watch knew", len(first))
			}
			slow := p.steady(t, time.Minute)
			if len(slow) > want || (len(slow) == 0 && !watched) {
				t.Errorf("%d of 600 dials waited, want at most %d (watched: %v)", len(slow), want, watched)
			}
			for _, c := range slow {
				if c.took > serverconn.AddressTimeout {
					t.Errorf("a dial waited for %v, want at most %v", c.took, serverconn.AddressTimeout)
				}
			}
			p.a.becomes(hostUp)
			if !p.uses(p.a, maxBackoff*12/10) {
				t.Error("the server can be reached again and is not used")
			}
			p.done()
		})
	}
}

// TestOnlyServerComesBack: if there is no other server, dials wait for it within their
// budget, without many connects.
func TestOnlyServerComesBack(t *testing.T) {
	const away, dials = 4 * time.Second, 100
	for name, state := range map[string]hostState{
		"process": hostRefuses, "agent": hostNoAgent, "network": hostDropped, "handshake": hostStopped,
	} {
		for _, watched := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				inBothModes(t, func(t *testing.T, f frontend) {
					n := newNet(t)
					h := n.host(f, "10.0.0.1")
					n.name("a", "10.0.0.1")
					p := &pair{fakeNet: n, Dialer: n.dialer("a")}
					must(t, p.lookUpAll(t.Context()))
					h.becomes(state)
					if watched {
						p.run(p.Dialer)
					}
					time.AfterFunc(away, func() { h.becomes(hostUp) })
					all := herd(p.Dialer, dials)
					for _, c := range all {
						if c.err != nil || c.took < away || c.took > away+4*time.Second {
							t.Fatalf("a dial ended after %v with %v, want success soon after %v", c.took, c.err, away)
						}
					}
					// In http-connect mode each dial may connect before the state is
					// known, and does so when the server is back.
					c := h.counts()
					if state != hostNoAgent && c.connects > 2*dials+2*int(away/checkPause) {
						t.Errorf("%d connection attempts for %d dials", c.connects, dials)
					}
					if c.dials > dials*8 {
						t.Errorf("asked %d times for %d dials", c.dials, dials)
					}
					p.done(all...)
				})
			})
		}
	}
}
