// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// oneSlowName is a resolver that takes its time for one name.
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

// TestOneNameIsSlow: a dial that comes before any address is known takes the first
// server that is found. It waits neither for a lookup that is slow, nor for one
// that has failed.
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
