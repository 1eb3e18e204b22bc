// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"io"
	"net/netip"
	"strconv"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// resolverFunc is a Resolver.
type resolverFunc func(ctx context.Context) ([]netip.Addr, error)

// LookupNetIP implements Resolver.
func (f resolverFunc) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return f(ctx)
}

// TestPolicyChangesAtTheBeginning: a stream does not keep the policy of its beginning, if
// that changes while it is asked for, and all streams were looked at before it is dialled.
func TestPolicyChangesAtTheBeginning(t *testing.T) {
	t.Parallel()
	const elsewhere = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: ExitPolicy\nrules: [{clients: [{commonName: app}], cidrs: [10.0.0.0/8]}]\n"
	rechecked := make(chan struct{})
	var e *testExit
	var armed sync.Once
	ready := make(chan struct{}) // e is set
	e = newExit(t, allowLoopback, func(c *Config) {
		current := c.Policy
		c.Policy = func() *exitpolicy.Policy {
			old := current()
			armed.Do(func() {
				<-ready
				e.setPolicy(t, elsewhere)
				before := e.rechecks.Load()
				go func() { defer close(rechecked); e.Recheck() }()
				waittest.Eventually(t, "the beginning of Recheck", func() bool { return e.rechecks.Load() > before })
			})
			return old
		}
		c.Resolver = resolverFunc(func(ctx context.Context) ([]netip.Addr, error) {
			select {
			case <-rechecked:
			case <-ctx.Done():
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
		})
	})
	close(ready)
	target := netip.MustParseAddrPort(listenEcho(t))
	u, err := tryOpen(e.connect(t, "app"), "target.test:"+strconv.Itoa(int(target.Port())))
	if err == nil {
		defer u.close()
		_ = u.send.Close()
		if _, err = io.ReadAll(u.Body); u.StatusCode == 200 && err == nil {
			t.Error("the stream ended in order")
		}
	}
	waittest.Eventually(t, "the reset of the stream", func() bool { return e.metric(t, "proxy_exit_close_total", "policy_changed") == 1 })
}
