// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// slowNames is a resolver that answers after some time.
type slowNames struct {
	resolver
	takes time.Duration
}

// LookupNetIP implements resolver.
func (s slowNames) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	pause.For(ctx, s.takes)
	if err := ctx.Err(); err != nil {
		return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
	}
	return s.resolver.LookupNetIP(ctx, network, host)
}

// TestSlowLookup: a nameserver that never answers costs the resolver 5 s for each
// attempt. A lookup goes on for as long as that takes, whatever dials do.
func TestSlowLookup(t *testing.T) {
	for _, takes := range []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute} {
		inBothModes(t, func(t *testing.T, f frontend) {
			p := newNamed(t, f)
			p.Dialer.resolver = slowNames{p.fakeNet, takes}
			p.run(p.Dialer)
			if takes > testBudget {
				c := dial(t.Context(), p.Dialer)
				if tunnel.ReasonOf(c.err) != tunnel.ReasonServerUnreachable || c.took != testBudget {
					t.Errorf("after %v: %v; want %s when the budget ends", c.took, c.err, tunnel.ReasonServerUnreachable)
				}
			}
			time.Sleep(takes)
			synctest.Wait()
			c := dial(t.Context(), p.Dialer)
			if c.err != nil || c.took != 0 {
				t.Errorf("after %v: %v; want success at once, now that the name is known", c.took, c.err)
			}
			p.done(c)
		})
	}
}

// families is a resolver with an answer for each kind of lookup. A nil answer never
// comes.
type families map[string]*lookupResult

// LookupNetIP implements resolver.
func (f families) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if answer := f[network]; answer != nil {
		return answer.ips, answer.err
	}
	<-ctx.Done()
	return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
}

// TestFamilies: each family of an answer is judged by itself. A family whose lookup
// failed keeps its addresses, and one that does not exist keeps none.
func TestFamilies(t *testing.T) {
	const v4, v6, new4, new6 = "10.0.0.1", "fd00::1", "10.0.0.2", "fd00::2"
	ok := func(ips ...string) *lookupResult {
		f := &lookupResult{}
		for _, ip := range ips {
			f.ips = append(f.ips, netip.MustParseAddr(ip))
		}
		return f
	}
	none := &lookupResult{err: &net.DNSError{Err: "no such host", IsNotFound: true}}
	broken := &lookupResult{err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}
	for _, tc := range []struct {
		name    string
		answers families
		fails   bool
		want    []string
	}{
		{"both are new", families{"ip": ok(new4, new6)}, false, []string{new4, new6}},
		{"IPv6 is gone", families{"ip": ok(new4), "ip6": none}, false, []string{new4}},
		{"IPv6 fails", families{"ip": ok(new4), "ip6": broken}, false, []string{new4, v6}},
		{"IPv4 fails", families{"ip": ok(new6), "ip4": broken}, false, []string{new6, v4}},
		{"IPv6 is another name's", families{"ip": ok(new4), "ip6": ok(new6)}, false, []string{new4}},
		{"both fail", families{"ip": broken}, true, []string{v4, v6}},
		{"the name is gone", families{"ip": none}, true, []string{v4, v6}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: "s", Network: "tcp", Address: "s:8090", Mode: tunnel.ModeGRPC})
			d.resolver = families{"ip": ok(v4, v6)}
			s := d.servers[0]
			must(t, s.update(t.Context()))
			d.resolver = tc.answers
			if err := s.update(t.Context()); (err != nil) != tc.fails {
				t.Errorf("the lookup ended with %v", err)
			}
			if diff := cmp.Diff(sorted(tc.want), s.addresses()); diff != "" {
				t.Errorf("known addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func sorted(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	return all
}

func (s *server) addresses() []string {
	var all []string
	for _, e := range s.known() {
		all = append(all, e.Addr.Addr().String())
	}
	return sorted(all)
}

// TestFirstLookupInsideShoot: Run ends if the first lookup finds the server inside the
// shoot, however late the answer comes. TestFailedLookup has a later lookup.
func TestFirstLookupInsideShoot(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		p := newNamed(t, frontend{tunnel.ModeGRPC, tunnel.ModeGRPC})
		p.name("name", "100.64.0.9")
		p.Dialer.resolver = slowNames{p.fakeNet, time.Minute}
		began := time.Now()
		err := p.Run(t.Context())
		if _, inside := errors.AsType[*InsideShootError](err); !inside || time.Since(began) != time.Minute {
			t.Errorf("Run ended after %s with %v, want an InsideShootError after a minute", time.Since(began), err)
		}
		p.done()
	})
}

// nameserver is a DNS server on loopback that does not answer questions for one type.
func nameserver(t *testing.T, swallows dnsmessage.Type, swallowed *atomic.Int64) *net.Resolver {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for buf := make([]byte, 4096); ; {
			n, from, err := socket.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			if q.Type == swallows {
				swallowed.Add(1)
				continue
			}
			m.Response, m.Additionals = true, nil
			header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
			switch q.Type {
			case dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			case dnsmessage.TypeAAAA:
				m.Answers = []dnsmessage.Resource{{Header: header, Body: &dnsmessage.AAAAResource{AAAA: netip.IPv6Loopback().As16()}}}
			}
			if answer, err := m.Pack(); err == nil {
				_, _ = socket.WriteTo(answer, from)
			}
		}
	})
	// Package net goes on with a lookup after its caller has gone.
	var mu sync.Mutex
	var conns []net.Conn
	over := false
	t.Cleanup(func() {
		_ = socket.Close()
		serving.Wait()
		mu.Lock()
		defer mu.Unlock()
		over = true
		for _, conn := range conns {
			_ = conn.Close()
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return nil, net.ErrClosed
		}
		conn, err := net.Dial("udp", socket.LocalAddr().String())
		conns = append(conns, conn)
		return conn, err
	}}
}

// TestOneFamilyIsLost: the addresses of one family are used at once, while the answer
// for the other is awaited.
func TestOneFamilyIsLost(t *testing.T) {
	for _, tc := range []struct {
		lost dnsmessage.Type
		want string
	}{{dnsmessage.TypeAAAA, "127.0.0.1"}, {dnsmessage.TypeA, "::1"}} {
		t.Run(tc.lost.String(), func(t *testing.T) {
			var swallowed atomic.Int64
			d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: "s", Network: "tcp", Address: "proxy.test.:8090", Mode: tunnel.ModeGRPC})
			d.resolver = nameserver(t, tc.lost, &swallowed)
			s := d.servers[0]
			lookup := s.lookups.begin()
			if err := s.awaitAddress(t.Context()); err != nil {
				t.Fatal(err)
			}
			if !lookup.running() {
				t.Error("the lookup has ended, though it has not heard of both")
			}
			if diff := cmp.Diff([]string{tc.want}, s.addresses()); diff != "" || swallowed.Load() == 0 {
				t.Errorf("%d questions were swallowed; known addresses (-want +got):\n%s", swallowed.Load(), diff)
			}
		})
	}
}
