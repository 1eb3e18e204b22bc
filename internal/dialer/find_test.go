// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// oneSlowName is a resolver that answers for one name after some time.
type oneSlowName struct {
	resolver
	name string
	slow slowNames
}

// LookupNetIP implements resolver.
func (o oneSlowName) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if host == o.name {
		return o.slow.LookupNetIP(ctx, network, host)
	}
	return o.resolver.LookupNetIP(ctx, network, host)
}

// TestOneNameIsSlow: a dial that comes before any address is known uses the first
// server that is found. It waits neither for a slow lookup nor for one that has failed.
func TestOneNameIsSlow(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		const found = time.Second
		n := newNet(t)
		p := &pair{fakeNet: n, a: n.host(f, "10.0.0.1"), b: n.host(f, "10.0.0.2")}
		n.name("slow", "10.0.0.1")
		n.name("b", "10.0.0.2")
		p.Dialer = n.dialer("slow", "b")
		p.Dialer.resolver = oneSlowName{slowNames{n, found}, "slow", slowNames{n, time.Minute}}
		c := dial(t.Context(), p.Dialer)
		if c.err != nil || c.took != found {
			t.Errorf("after %v: %v; want success after %v, when the other server is found", c.took, c.err, found)
		}
		p.done(c)
	})
}

// TestAddressesFailDifferently: if each address of a server fails for another reason,
// each reason is logged once until the server can be reached again.
func TestAddressesFailDifferently(t *testing.T) {
	inBothModes(t, func(t *testing.T, f frontend) {
		p := newNamed(t, f)
		p.name("name", "10.0.0.1", "10.0.0.2")
		p.a.becomes(hostDistrusts)
		p.b.becomes(hostRefuses)
		var lines bytes.Buffer
		p.log = slog.New(slog.NewTextHandler(&lines, nil))
		p.run(p.Dialer)
		for outage := 1; outage <= 2; outage++ {
			time.Sleep(time.Minute)
			p.stop() // so that no line is being written
			for _, reason := range []tunnel.Reason{tunnel.ReasonTLS, tunnel.ReasonServerUnreachable} {
				if n := strings.Count(lines.String(), "not reachable\" server=name reason="+string(reason)); n != outage {
					t.Errorf("%s was logged %d times in %d outages:\n%s", reason, n, outage, &lines)
				}
			}
			p.a.becomes(hostUp)
			p.run(p.Dialer)
			time.Sleep(time.Minute)
			p.a.becomes(hostRefuses) // this ends the shared connection
			p.a.becomes(hostDistrusts)
		}
		p.done()
	})
}
