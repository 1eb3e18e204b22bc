// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// newNamed returns a pair of hosts, with a Dialer for name, which resolves to the
// first.
func newNamed(t *testing.T, f frontend) *pair {
	n := newNet(t)
	p := &pair{fakeNet: n, a: n.host(f, "10.0.0.1"), b: n.host(f, "10.0.0.2")}
	n.name("name", "10.0.0.1")
	p.Dialer = n.dialer("name")
	return p
}

// TestNameThatDoesNotResolve: a dial waits for a name within its budget, and its error
// names the lookup.
func TestNameThatDoesNotResolve(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newNamed(t, f)
		p.name("name")
		c := dial(t.Context(), p.Dialer)
		if tunnel.ReasonOf(c.err) != tunnel.ReasonServerUnreachable || c.took != testBudget || !strings.Contains(c.err.Error(), "lookup name") {
			t.Errorf("after %v: %v; want %s and the lookup after %v", c.took, c.err, tunnel.ReasonServerUnreachable, testBudget)
		}
		time.AfterFunc(4*time.Second, func() { p.name("name", "10.0.0.1") })
		c = dial(t.Context(), p.Dialer)
		if c.err != nil || c.took > 4*time.Second+lookupRetry+maxRetryPause*12/10 {
			t.Errorf("after %v: %v; want success soon after the name resolves", c.took, c.err)
		}
		p.done(c)
	})
}

// failingNames is a resolver whose lookups all end with an error.
type failingNames struct{ err net.DNSError }

// LookupNetIP implements resolver.
func (f failingNames) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	err := f.err
	err.Name = host
	return nil, &err
}

// TestFailedLookupSaysWhatToDo: the reason for not being ready, and the error of a dial,
// have a next step.
func TestFailedLookupSaysWhatToDo(t *testing.T) {
	for _, tt := range []struct {
		err  net.DNSError
		want string
	}{
		{net.DNSError{Err: "no such host", IsNotFound: true}, "lookup name: no such host: correct the host in --proxy-server, or write a Service's as NAME.NAMESPACE.svc"},
		{net.DNSError{Err: "server misbehaving", IsTemporary: true}, "lookup name: server misbehaving: see whether a nameserver of the pod's /etc/resolv.conf answers, and whether NetworkPolicies let the pod reach it"},
		{net.DNSError{Err: "i/o timeout", IsTimeout: true}, "lookup name: i/o timeout: see whether a nameserver of the pod's /etc/resolv.conf answers, and whether NetworkPolicies let the pod reach it"},
	} {
		inBubble(t, func(t *testing.T) {
			p := newNamed(t, frontend{tunnel.ModeGRPC, tunnel.ModeGRPC})
			p.Dialer.resolver = failingNames{tt.err}
			p.run(p.Dialer)
			time.Sleep(time.Minute)
			if said := p.Unreachable().Error(); !strings.Contains(said, tt.want) {
				t.Errorf("it is not ready for: %s\nwant %s", said, tt.want)
			}
			if c := dial(t.Context(), p.Dialer); !strings.Contains(c.err.Error(), tt.want) {
				t.Errorf("a dial ends with %v\nwant %s", c.err, tt.want)
			}
			p.done()
		})
	}
}

// TestLookupErrorsKeepTheAdvice: however long a name is, the text of its lookup and the
// advice together are no longer than a clause.
func TestLookupErrorsKeepTheAdvice(t *testing.T) {
	const nameserver, timeout = "[fd00:10:96::a]:53", "read udp [fd00:10:244:1234:5678:9abc:def0:1234]:43210->[fd00:10:96::a]:53: i/o timeout"
	s := &server{shared: &shared{names: options.SettingNames()}}
	for _, length := range []int{10, 121, 253} {
		for _, tt := range []struct {
			err    net.DNSError
			advice string
		}{
			{net.DNSError{Err: "no such host", IsNotFound: true}, "or write a Service's as NAME.NAMESPACE.svc"},
			{net.DNSError{Err: timeout, IsTimeout: true}, "whether NetworkPolicies let the pod reach it"},
		} {
			tt.err.Name, tt.err.Server = strings.Repeat("a", length), nameserver
			err := s.withNextStep(&tt.err)
			if said := err.Error(); len(said) > clip.Clause || !strings.HasSuffix(said, tt.advice) || !errors.Is(err, &tt.err) {
				t.Errorf("a name of %d bytes: %d bytes of %d: %s", length, len(said), clip.Clause, said)
			}
		}
	}
}

// TestFailedRenewalSaysWhatToDo: the warning that known addresses stay has a next step.
func TestFailedRenewalSaysWhatToDo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newNamed(t, frontend{tunnel.ModeGRPC, tunnel.ModeGRPC})
		log := &logtest.Buffer{}
		p.Dialer.log = log.Logger(slog.LevelWarn)
		p.run(p.Dialer)
		must(t, p.lookUpAll(t.Context()))
		p.name("name")
		time.Sleep(3 * lookupInterval)
		const want = "server misbehaving: see whether a nameserver"
		lines := log.Lines(t, "proxy-server's name could not be resolved again; the addresses known so far stay")
		if len(lines) != 1 || !strings.Contains(fmt.Sprint(lines[0]["error"]), want) {
			t.Errorf("the log has %v, want one warning with %q", lines, want)
		}
		p.done()
	})
}

// TestFailedLookup: after a failed lookup the known addresses stay, with all
// connections.
func TestFailedLookup(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newNamed(t, f)
		p.run(p.Dialer)
		old := dial(t.Context(), p.Dialer)
		for what, addrs := range map[string][]string{"DNS fails": nil, "an address in the shoot": {"10.0.0.2", "100.64.0.9"}} {
			before := p.lookedUp()
			p.name("name", addrs...)
			time.Sleep(3 * lookupInterval)
			if p.lookedUp() == before {
				t.Errorf("%s: nobody looked", what)
			}
			old.alive(t, what+": a connection from before")
			c := dial(t.Context(), p.Dialer)
			c.alive(t, what+": a new connection")
			_ = c.Close()
			if !p.OwnsAddress(p.a.addr) || p.OwnsAddress(p.b.addr) {
				t.Errorf("%s: other addresses than before are known", what)
			}
		}
		if n := p.b.counts().connects; n != 0 {
			t.Error("somebody connected to an address of a refused answer")
		}
		err := p.lookUpAll(t.Context())
		if _, ok := errors.AsType[*InsideShootError](err); !ok && err != nil {
			t.Errorf("the lookup: %v", err)
		}
		p.done(old)
	})
}

// TestNameMoves: new connections use the present address of a name, and old ones stay
// where they are until they end.
func TestNameMoves(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newNamed(t, f)
		p.run(p.Dialer)
		old := dial(t.Context(), p.Dialer)
		departed := p.servers[0].known()[0]
		carrier := departed.grpc().Wire()

		p.name("name", "10.0.0.2")
		time.Sleep(lookupInterval * 12 / 10)
		if p.OwnsAddress(p.a.addr) || !p.OwnsAddress(p.b.addr) {
			t.Error("OwnsAddress knows the old address, or not the new one")
		}
		if !p.Reachable() {
			t.Error("not reachable at the new address")
		}
		asked, connects := p.a.counts().dials, p.a.counts().connects
		all := herd(p.Dialer, 10)
		time.Sleep(time.Minute)
		if c := p.a.counts(); c.dials != asked || c.connects != connects {
			t.Errorf("the address that went away got %d dials and %d connections more", c.dials-asked, c.connects-connects)
		}
		if n := p.b.counts().open; n != 10 {
			t.Errorf("%d of 10 new connections are at the new address", n)
		}
		old.alive(t, "a minute after its address went away")
		must(t, old.Close())
		time.Sleep(konnectivity.CloseGrace)
		if f.speaks == tunnel.ModeGRPC && !errors.Is(carrier.Err(), grpcwire.ErrClosed) {
			t.Error("the shared connection to the old address is not closed behind its last stream")
		}
		if n := departed.load.Load(); n != 0 {
			t.Errorf("the old address is left with a load of %d", n)
		}

		p.name("name", "10.0.0.2", "10.0.0.1") // one address comes back, the other stays
		time.Sleep(lookupInterval * 12 / 10)
		back := herd(p.Dialer, 10)
		if x, y := p.a.counts().open, p.b.counts().open; x != 10 || y != 10 {
			t.Errorf("%d and %d connections, want the new ones where none were", x, y)
		}
		p.done(append(all, back...)...)
	})
}

// TestNameMovesWhileDialsWait: a dial that waits for a further connection to an address
// that goes away uses the new one. It does not end as if the app had given up.
func TestNameMovesWhileDialsWait(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := frontend{tunnel.ModeGRPC, tunnel.ModeGRPC}
		n := newNet(t)
		n.grpc = []grpc.ServerOption{grpc.MaxConcurrentStreams(1)}
		p := &pair{fakeNet: n, a: n.host(f, "10.0.0.1"), b: n.host(f, "10.0.0.2")}
		n.name("name", "10.0.0.1")
		p.Dialer = n.dialer("name")
		old := dial(t.Context(), p.Dialer)
		p.a.becomes(hostStopped)
		waits := make(chan connected)
		go func() { waits <- dial(t.Context(), p.Dialer) }()
		synctest.Wait()
		n.name("name", "10.0.0.2")
		must(t, p.lookUpAll(t.Context()))
		c := <-waits
		if c.err != nil || c.took != 0 {
			t.Errorf("after %v: %v; want success at once, at the new address", c.took, c.err)
		}
		old.alive(t, "at the old address")
		p.done(old, c)
	})
}

// TestNameMovesAwayFromTheDead: an address that cannot be reached causes a lookup at
// once, but not at every dial.
func TestNameMovesAwayFromTheDead(t *testing.T) {
	for _, watched := range []bool{true, false} {
		inBothModes(t, func(t *testing.T, f frontend) {
			p := newNamed(t, f)
			if watched {
				p.run(p.Dialer)
			}
			first := dial(t.Context(), p.Dialer)
			p.a.becomes(hostRefuses)
			before := p.lookedUp()
			const wait = 5 * time.Second
			time.AfterFunc(wait, func() { p.name("name", "10.0.0.2") })
			all := herd(p.Dialer, 50)
			for _, c := range all {
				if c.err != nil || c.took > wait+2*maxRetryPause*12/10 {
					t.Fatalf("a dial ended after %v with %v, want success soon after the name has moved after %v", c.took, c.err, wait)
				}
			}
			if n := p.lookedUp() - before; n > int(wait/lookupAge)+3 {
				t.Errorf("%d lookups in %v, want at most one a second", n, wait)
			}
			p.done(append(all, first)...)
		})
	}
}

// TestNoLookupInADial: a slow DNS server does not slow dials down.
func TestNoLookupInADial(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newNamed(t, f)
		must(t, p.lookUpAll(t.Context()))
		before := p.lookedUp()
		all := herd(p.Dialer, 20)
		if n := p.lookedUp() - before; n != 0 {
			t.Errorf("%d lookups for 20 dials, want none", n)
		}
		p.done(all...)
	})
}
