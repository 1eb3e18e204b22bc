// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestLoadIsSpread: connections go where there are fewest, over servers and over the
// addresses of one server.
func TestLoadIsSpread(t *testing.T) {
	for name, servers := range map[string][]string{"two servers": {"a", "b"}, "two addresses": {"both"}} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, f frontend) {
				p := newPair(t, f)
				p.name("both", "10.0.0.1", "10.0.0.2")
				p.Dialer = p.dialer(servers...)
				must(t, p.lookUpAll(t.Context()))
				old := herd(p.Dialer, 10)
				if x, y := p.a.counts().open, p.b.counts().open; x != 5 || y != 5 {
					t.Errorf("of 10 connections %d and %d went to the two, want 5 each", x, y)
				}
				for _, c := range old[:4] {
					_ = c.Close()
				}
				time.Sleep(konnectivity.CloseGrace)
				for range 4 {
					old = append(old, dial(t.Context(), p.Dialer))
				}
				if x, y := p.a.counts().open, p.b.counts().open; x != 5 || y != 5 {
					t.Errorf("after 4 were closed and 4 opened, %d and %d are left, want 5 each", x, y)
				}
				p.done(old...)
			})
		})
	}
}

// TestSharedConnectionThatHangs: a shared connection on which dials get no answer gets
// no new streams, and keeps those that it has.
func TestSharedConnectionThatHangs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		n := newNet(t)
		h := n.host(frontend{tunnel.ModeGRPC, tunnel.ModeGRPC}, "10.0.0.1")
		n.name("a", "10.0.0.1")
		p := &pair{fakeNet: n, Dialer: n.dialer("a")}
		old := dial(t.Context(), p.Dialer)
		h.becomes(hostSilent)
		time.AfterFunc(answerTimeout-time.Second, func() { h.becomes(hostUp) })
		fresh := dial(t.Context(), p.Dialer)
		if fresh.err != nil || fresh.took > answerTimeout+time.Second {
			t.Errorf("after %v: %v; want success soon after the silence of %v", fresh.took, fresh.err, answerTimeout)
		}
		if c := h.counts().connects; c != 2 {
			t.Errorf("%d connections to the server, want a second one behind the one that hung", c)
		}
		old.alive(t, "through the one that hung")
		fresh.alive(t, "through the other")
		p.done(old, fresh)
	})
}

// TestImpatientApp: an app that gives up before our timeout still finds another server
// with its next dial.
func TestImpatientApp(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newPair(t, f)
		p.a.becomes(hostSilent)
		give := func(patience time.Duration) connected {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(patience, cancel)
			c := dial(ctx, p.Dialer)
			if c.err == nil {
				_ = c.Close()
			}
			return c
		}
		for range 2 { // too soon to count against a server
			if c := give(time.Second); tunnel.ReasonOf(c.err) != tunnel.ReasonCancelled || c.took != time.Second {
				t.Errorf("the app gave up after 1s; the dial ended after %v with %v", c.took, c.err)
			}
		}
		if c := give(3 * time.Second); tunnel.ReasonOf(c.err) != tunnel.ReasonCancelled || c.took != 3*time.Second {
			t.Errorf("the app gave up after 3s; the dial ended after %v with %v", c.took, c.err)
		}
		// The pause is over: one dial may try the server, the other uses another one.
		go give(3 * time.Second)
		synctest.Wait()
		c := give(3 * time.Second)
		time.Sleep(abandonTimeout)
		if c.err != nil || c.took != 0 {
			t.Errorf("the next dial ended after %v with %v, want success at once through the other server", c.took, c.err)
		}
		p.done()
	})
}

// TestCancelledDial: a dial ends when its app gives up, at every step.
func TestCancelledDial(t *testing.T) {
	for name, state := range map[string]hostState{
		"refused": hostRefuses, "no agent": hostNoAgent, "dropped": hostDropped, "stopped": hostStopped, "silent": hostSilent,
	} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, f frontend) {
				p := newPair(t, f)
				p.a.becomes(state)
				p.b.becomes(state)
				ctx, cancel := context.WithCancel(t.Context())
				const patience = 1700 * time.Millisecond
				time.AfterFunc(patience, cancel)
				if c := dial(ctx, p.Dialer); tunnel.ReasonOf(c.err) != tunnel.ReasonCancelled || c.took != patience {
					t.Errorf("the app gave up after %v; the dial ended after %v with %v", patience, c.took, c.err)
				}
				p.done()
			})
		})
	}
}

// TestBudget: if nothing helps, a dial ends with its budget, and its error says what
// had failed.
func TestBudget(t *testing.T) {
	for want, state := range map[tunnel.Reason]hostState{
		tunnel.ReasonServerUnreachable: hostDropped, tunnel.ReasonNoAgent: hostNoAgent, tunnel.ReasonTimeout: hostSilent,
	} {
		t.Run(string(want), func(t *testing.T) {
			inBothModes(t, func(t *testing.T, f frontend) {
				p := newPair(t, f)
				p.a.becomes(state)
				p.b.becomes(state)
				if c := dial(t.Context(), p.Dialer); tunnel.ReasonOf(c.err) != want || c.took != testBudget {
					t.Errorf("the dial ended after %v with %v, want %s after %v", c.took, c.err, want, testBudget)
				}
				p.done()
			})
		})
	}
}

// TestBudgetEndsInAConnect: a socket may notice the end of the budget before ctx does.
// Its error counts as the end of the budget.
func TestBudgetEndsInAConnect(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newPair(t, frontend{tunnel.ModeHTTPConnect, tunnel.ModeHTTPConnect})
		p.a.becomes(hostNoAgent)
		p.b.becomes(hostNoAgent)
		deadline := time.Now().Add(testBudget / 2)
		ctx, cancel := context.WithDeadline(t.Context(), deadline.Add(time.Millisecond))
		defer cancel()
		p.Dialer.connect = func(ctx context.Context, e *endpoint, alpn []string) (net.Conn, string, *tunnel.Error) {
			deadline, _ := ctx.Deadline()
			if left := time.Until(deadline); left < maxRetryPause {
				time.Sleep(left)
				return nil, "", e.Unreachable(ctx, errors.New("connect: i/o timeout"))
			}
			return p.fakeNet.connect(ctx, e, alpn)
		}
		c := dial(lateContext{ctx, deadline}, p.Dialer)
		if tunnel.ReasonOf(c.err) != tunnel.ReasonNoAgent {
			t.Errorf("no server had an agent, and the last connect took until the budget's end; the dial ended with %v, want %s", c.err, tunnel.ReasonNoAgent)
		}
		p.done()
	})
}

// lateContext is a context that ends a moment after its deadline.
type lateContext struct {
	context.Context
	deadline time.Time
}

// Deadline implements context.Context.
func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }

// TestDistrustedEverywhere: another server may trust us. If no server does, dials do
// not wait for the end of their budget, because that does not change by itself.
func TestDistrustedEverywhere(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newPair(t, f)
		p.a.becomes(hostDistrusts)
		c := dial(t.Context(), p.Dialer)
		if c.err != nil || c.took != 0 {
			t.Errorf("after %v: %v; want success through the server that trusts us", c.took, c.err)
		}
		p.b.becomes(hostNoAgent)
		time.AfterFunc(2*time.Second, func() { p.b.becomes(hostUp) })
		later := dial(t.Context(), p.Dialer)
		if later.err != nil || later.took > 4*time.Second {
			t.Errorf("after %v: %v; want success when the other server has its agent back", later.took, later.err)
		}
		p.done(c, later)

		p = newPair(t, f)
		p.a.becomes(hostDistrusts)
		p.b.becomes(hostDistrusts)
		if c := dial(t.Context(), p.Dialer); tunnel.ReasonOf(c.err) != tunnel.ReasonTLS || c.took != 0 {
			t.Errorf("after %v: %v; want %s at once", c.took, c.err, tunnel.ReasonTLS)
		}
		if a, b := p.a.counts().connects, p.b.counts().connects; a == 0 || b == 0 {
			t.Errorf("%d and %d attempts, want both servers to be tried", a, b)
		}
		p.done()
	})
}

// TestNothingIsSentTwice: a connection that breaks after a successful dial is not
// dialled again, whether or not a byte was sent.
func TestNothingIsSentTwice(t *testing.T) {
	for _, said := range []string{"", "a byte, and more"} {
		inBothModes(t, func(t *testing.T, f frontend) {
			p := newPair(t, f)
			c := dial(t.Context(), p.Dialer)
			must(t, c.err)
			must(t, c.Send([]byte(said)))
			p.a.becomes(hostRefuses)
			var err error
			for err == nil {
				_, err = c.Receive()
			}
			if !errors.Is(err, tunnel.ErrBroken) {
				t.Errorf("the connection ended with %v, want ErrBroken", err)
			}
			if dials := p.b.counts().dials; dials != 0 {
				t.Errorf("the other server was asked %d times", dials)
			}
			if n := testutil.ToFloat64(p.metrics.failovers); n != 0 {
				t.Errorf("failovers_total is %v", n)
			}
			p.done(c)
		})
	}
}

// TestOtherFrontend: a server in mode auto may come back in the other mode.
func TestOtherFrontend(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		other := frontend{tunnel.ModeGRPC, f.configured}
		if f.speaks == other.speaks {
			other.speaks = tunnel.ModeHTTPConnect
		}
		if f.configured != tunnel.ModeAuto {
			return // another mode would not be believed
		}
		n := newNet(t)
		n.name("a", "10.0.0.1")
		before := n.host(f, "10.0.0.1")
		p := &pair{fakeNet: n, Dialer: n.dialer("a")}
		old := dial(t.Context(), p.Dialer)
		must(t, old.err)
		before.becomes(hostRefuses)
		after := n.host(other, "10.0.0.1")
		before.stop()
		conns := []connected{old, dial(t.Context(), p.Dialer), dial(t.Context(), p.Dialer)}
		for _, c := range conns[1:] {
			c.alive(t, "through the new frontend")
		}
		if got := p.servers[0].speaks(); got != other.speaks || after.counts().dials != 2 {
			t.Errorf("mode %s after %d dials through the new frontend, want %s after 2", got, after.counts().dials, other.speaks)
		}
		p.done(conns...)
	})
}

// TestRepairedServerIsUsed: a fault that only a person can repair ends dials at once, but
// not the checks.
func TestRepairedServerIsUsed(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newPair(t, f)
		p.a.becomes(hostDistrusts)
		p.b.becomes(hostDistrusts)
		p.run(p.Dialer)
		time.Sleep(time.Minute)
		if c := dial(t.Context(), p.Dialer); tunnel.ReasonOf(c.err) != tunnel.ReasonTLS || c.took != 0 || p.Reachable() {
			t.Errorf("after %v: %v, reachable: %v; want %s at once", c.took, c.err, p.Reachable(), tunnel.ReasonTLS)
		}
		p.a.becomes(hostUp)
		time.Sleep(watchRetry * 12 / 10)
		if !p.Reachable() {
			t.Errorf("the server was mended, but %v", p.Unreachable())
		}
		c := dial(t.Context(), p.Dialer)
		if c.err != nil || c.took != 0 {
			t.Errorf("after %v: %v; want success at once", c.took, c.err)
		}
		p.done(c)
	})
}
