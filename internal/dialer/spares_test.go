// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/connectmode"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// stock dials until there is a spare for the next dial.
func (f *fixture) stock(t *testing.T) *connectmode.Dialer {
	t.Helper()
	s := f.endpoint(t).connect()
	for range 2 {
		conn, err := f.dial(t)
		must(t, err)
		must(t, conn.Close())
	}
	waittest.Eventually(t, "a ready-made connection", func() bool { ready, _ := s.Spares(); return ready > 0 })
	return s
}

// newSolo returns one host in http-connect mode, with a Dialer for it that keeps so
// many spares at most.
func newSolo(t *testing.T, spares int) *pair {
	n := newNet(t)
	h := n.host(frontend{tunnel.ModeHTTPConnect, tunnel.ModeHTTPConnect}, "10.0.0.1")
	n.name("a", "10.0.0.1")
	p := &pair{fakeNet: n, Dialer: n.dialer("a"), a: h}
	p.spares.Most = spares
	must(t, p.lookUpAll(t.Context()))
	return p
}

// dials dials n times, one after the other, and closes the connections.
func (p *pair) dials(t *testing.T, n int) {
	t.Helper()
	for range n {
		c := dial(t.Context(), p.Dialer)
		must(t, c.err)
		must(t, c.Close())
		synctest.Wait()
	}
}

// TestSparesFollowDemand: one dial makes no spare, the next ones do. A spare that is
// not used is closed and not replaced.
func TestSparesFollowDemand(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newSolo(t, 4)
		for range 3 {
			p.dials(t, 1)
			if n := p.a.counts().unasked; n != 0 {
				t.Errorf("%d connections wait after a single dial", n)
			}
			time.Sleep(spareAge)
		}
		p.dials(t, 2)
		before := p.a.counts()
		if before.unasked != 1 {
			t.Errorf("%d connections wait after two dials, want one", before.unasked)
		}
		p.dials(t, 10)
		after := p.a.counts()
		if after.unasked != 1 || after.connects != before.connects+10 {
			t.Errorf("%d connections were made for 10 dials, and %d wait, want 10 and one", after.connects-before.connects, after.unasked)
		}
		time.Sleep(spareAge + time.Second)
		if n := p.a.counts().unasked; n != 0 {
			t.Errorf("%d connections still wait after %v", n, spareAge)
		}
		time.Sleep(time.Hour)
		if n := p.a.counts().connects; n != after.connects {
			t.Errorf("%d connections were made at rest", n-after.connects)
		}
		p.done()
	})
}

// TestSparesGrowAndShrink: many dials leave more spares, up to the bound. When fewer
// dials come, the surplus grows old.
func TestSparesGrowAndShrink(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newSolo(t, 4)
		p.dials(t, 1)
		crowd := herd(p.Dialer, 50)
		if n := p.a.counts().unasked; n != 4 {
			t.Errorf("%d connections wait after 50 dials at once, want the bound of 4", n)
		}
		e := p.servers[0].known()[0]
		for _, c := range crowd {
			c.alive(t, "one of a crowd")
			_ = c.Close()
		}
		time.Sleep(konnectivity.CloseGrace)
		if load := e.load.Load(); load != 0 {
			t.Errorf("connections that wait are a load of %d", load)
		}
		for range 10 {
			time.Sleep(10 * time.Second)
			p.dials(t, 1)
		}
		if n := p.a.counts().unasked; n != 1 {
			t.Errorf("%d connections wait for dials that come one by one, want one", n)
		}
		p.done()
		if n := p.a.counts().unasked; n != 0 {
			t.Errorf("%d connections are left after Close", n)
		}
	})
}

// TestSparesDieWithTheirServer: dials do not notice it, and it does not count against
// the server.
func TestSparesDieWithTheirServer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newSolo(t, 4)
		p.dials(t, 2)
		p.a.becomes(hostRefuses)
		p.a.becomes(hostUp) // a restart between two dials
		c := dial(t.Context(), p.Dialer)
		c.alive(t, "after a restart")
		if c.took > 0 {
			t.Errorf("the dial took %v", c.took)
		}
		if e := p.servers[0].known()[0]; e.aside.failures != 0 {
			t.Error("the server was set aside")
		}
		p.done(c)
	})
}

// TestSparesOfAnEndpointThatFails: an endpoint that is set aside, or whose address went
// away, has no spares.
func TestSparesOfAnEndpointThatFails(t *testing.T) {
	for name, fail := range map[string]func(*testing.T, *pair){
		"no agent": func(t *testing.T, p *pair) {
			p.a.becomes(hostNoAgent)
			if _, err := p.servers[0].known()[0].dial(t.Context(), target, p.servers[0].known()[0].claim(), nil); err.Reason != tunnel.ReasonNoAgent {
				t.Errorf("the dial ended with %v", err)
			}
		},
		"check": func(t *testing.T, p *pair) {
			p.a.becomes(hostDropped)
			if err := p.servers[0].known()[0].Check(t.Context()); err == nil {
				t.Error("the check succeeded")
			}
		},
		"departed": func(t *testing.T, p *pair) {
			p.host(frontend{tunnel.ModeHTTPConnect, tunnel.ModeHTTPConnect}, "10.0.0.2")
			p.name("a", "10.0.0.2")
			must(t, p.lookUpAll(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				p := newSolo(t, 4)
				p.dials(t, 1)
				for _, c := range herd(p.Dialer, 10) {
					_ = c.Close()
				}
				if p.a.counts().unasked == 0 {
					t.Fatal("nothing waits")
				}
				fail(t, p)
				if n := p.a.counts().unasked; n != 0 {
					t.Errorf("%d connections still wait", n)
				}
				p.done()
			})
		})
	}
}

// TestSpareIsWaitedFor: a dial waits for a spare that is being made and makes no other.
// It makes a connection of its own if that fails, or if its wait is given up.
func TestSpareIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newSolo(t, 1)
		p.dials(t, 1)
		begun, result := make(chan struct{}, 2), make(chan *tunnel.Error)
		usual := p.Dialer.connect
		p.Dialer.connect = func(ctx context.Context, e *endpoint, offered []string) (conn net.Conn, alpn string, err *tunnel.Error) {
			if ctx.Err() != nil {
				return nil, "", e.Unreachable(ctx, ctx.Err())
			}
			begun <- struct{}{}
			if err := <-result; err != nil {
				return nil, "", err
			}
			return usual(ctx, e, offered)
		}
		go func() { result <- nil }()
		p.dials(t, 1) // on its own connection
		<-begun
		<-begun // a spare for the next dial
		dialled := make(chan connected)
		go func() { dialled <- dial(t.Context(), p.Dialer) }()
		synctest.Wait()
		if len(begun) != 0 {
			t.Error("the dial makes its own connection, and one for it is nearly there")
		}
		result <- nil
		c := <-dialled
		c.alive(t, "on the connection that it waited for")

		<-begun // the replacement
		ctx, cancel := context.WithCancel(t.Context())
		go func() { dialled <- dial(ctx, p.Dialer) }()
		synctest.Wait()
		cancel()
		if gaveUp := <-dialled; tunnel.ReasonOf(gaveUp.err) != tunnel.ReasonCancelled {
			t.Errorf("a dial that was given up ended with %v", gaveUp.err)
		}
		go func() { dialled <- dial(t.Context(), p.Dialer) }()
		synctest.Wait()
		result <- &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Err: errors.New("connection lost")}
		<-begun // the dial's own connection
		result <- nil
		own := <-dialled
		own.alive(t, "on its own connection")
		synctest.Wait()
		if len(begun) != 0 {
			t.Error("another one is made ahead, behind one that failed")
		}
		p.done(c, own)
	})
}

// TestSpareDiesUnderItsCONNECT: a server that closes a spare just when it gets the
// request has not dialled. The dial is made again on another connection, at once and
// once.
func TestSpareDiesUnderItsCONNECT(t *testing.T) {
	for name, end := range map[string]func(*tls.Conn){
		"close_notify": func(c *tls.Conn) { _ = c.CloseWrite() },
		"FIN":          func(*tls.Conn) {},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPKI(t)
			var served, ending atomic.Int32
			d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
				if ending.CompareAndSwap(1, 0) {
					end(c)
					return
				}
				served.Add(1)
				write(establishedLine)(c)
				_, _ = io.Copy(c, c)
			}))
			d.stock(t)
			ending.Store(1)
			conn, err := d.dial(t)
			must(t, err)
			must(t, conn.Send([]byte("hello")))
			if got, err := conn.Receive(); string(got) != "hello" || err != nil {
				t.Errorf("received %q and %v, want hello", got, err)
			}
			must(t, conn.Close())
			if n := served.Load(); n != 3 {
				t.Errorf("%d dials were served, want 3", n)
			}
			e := d.endpoint(t)
			e.mu.Lock()
			defer e.mu.Unlock()
			if e.aside.failures != 0 || testutil.ToFloat64(d.metrics.failovers) != 0 {
				t.Error("it was held against the server")
			}
		})
	}
}

// TestSpareThatAnswersIsUsedOnce: an answer on a spare is final, whatever it is.
func TestSpareThatAnswersIsUsedOnce(t *testing.T) {
	p := newPKI(t)
	var asked atomic.Int32
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		if asked.Add(1) <= 2 {
			write(establishedLine)(c)
			return
		}
		write("HTTP/1.1 502 Bad Gateway\r\n\r\ndial tcp 100.64.3.7:9100: connect: connection refused")(c)
		_ = c.CloseWrite()
	}))
	d.stock(t)
	if _, err := d.dial(t); tunnel.ReasonOf(err) != tunnel.ReasonRefused || asked.Load() != 3 {
		t.Errorf("after %d requests the dial ended with %v, want refused after 3", asked.Load(), err)
	}
}

// TestSparesAndCertificates: a spare that was made with older files is not used.
func TestSparesAndCertificates(t *testing.T) {
	p := newPKI(t)
	presented := make(chan string, 8)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		presented <- c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		write(establishedLine)(c)
		_, _ = io.Copy(io.Discard, c)
	}))
	d.stock(t)
	old := waittest.Await(t, presented, "the first certificate")
	waittest.Await(t, presented, "the first certificate again")
	p.newClient(t)
	conn, err := d.dial(t)
	must(t, err)
	if fresh := waittest.Await(t, presented, "the second certificate"); fresh == old {
		t.Error("the next connection presented the old certificate")
	}
	must(t, conn.Close())
}

// TestSpareInTheMakingAndCertificates: nor is a spare that was being made when the
// files changed, by a dial that has waited for it.
func TestSpareInTheMakingAndCertificates(t *testing.T) {
	p := newPKI(t)
	presented := make(chan string, 8)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		presented <- c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		write(establishedLine)(c)
		_, _ = io.Copy(io.Discard, c)
	}))
	s := d.stock(t)
	old := waittest.Await(t, presented, "the first certificate")
	waittest.Await(t, presented, "the first certificate again")
	usual, made, goOn := d.Dialer.connect, make(chan struct{}), make(chan struct{})
	var held sync.Once
	d.Dialer.connect = func(ctx context.Context, e *endpoint, offered []string) (net.Conn, string, *tunnel.Error) {
		conn, alpn, err := usual(ctx, e, offered)
		held.Do(func() {
			close(made)
			<-goOn
		})
		return conn, alpn, err
	}
	first, err := d.dial(t) // on a spare, for which another is made
	must(t, err)
	defer first.Close()
	waittest.Await(t, presented, "the first certificate once more")
	waittest.Await(t, made, "the handshake with it")
	p.newClient(t)
	dialled := make(chan error, 1)
	go func() {
		conn, err := d.dial(t)
		if err == nil {
			err = conn.Close()
		}
		dialled <- err
	}()
	waittest.Eventually(t, "the dial to wait", func() bool {
		_, waiting := s.Spares()
		return waiting > 0
	})
	close(goOn)
	must(t, waittest.Await(t, dialled, "the end of the dial"))
	if fresh := waittest.Await(t, presented, "the second certificate"); fresh == old {
		t.Error("the next connection presented the old certificate")
	}
}
