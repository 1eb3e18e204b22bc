// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// limited is an exit at a limit: it refuses connections until leave is called.
type limited struct {
	*exitServer
	left bool
	from []string // for each CONNECT, the tunnel on which it came
}

func startLimited(t *testing.T, p *pki) *limited {
	t.Helper()
	l := &limited{}
	l.exitServer = startExit(t, p, func(e *exitServer) {
		e.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e.mu.Lock()
			l.from = append(l.from, r.RemoteAddr)
			left := l.left
			e.mu.Unlock()
			if left {
				e.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Proxy-Status", "exit; error=connection_limit_reached")
			w.WriteHeader(http.StatusServiceUnavailable)
		})
	})
	return l
}

// tunnels returns the tunnel of each CONNECT.
func (l *limited) tunnels() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.from)
}

func (l *limited) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.left = true
}

// TestAnExitAtItsLimit: a dial asks each exit once, and then pauses. The pauses grow. The
// next attempt is on another tunnel, which may lead to another exit of the same name.
func TestAnExitAtItsLimit(t *testing.T) {
	second := tunnel.HostPort("second.example:9443")
	for name, targets := range map[string][]tunnel.HostPort{"one exit": {theExit}, "two exits": {theExit, second}} {
		t.Run(name, func(t *testing.T) {
			p, n := newPKI(t), newNetwork(map[tunnel.HostPort]netip.AddrPort{})
			exits := map[tunnel.HostPort]*limited{}
			for _, target := range targets {
				exits[target] = startLimited(t, p)
				n.set(target, exits[target].addr)
			}
			want := []time.Duration{50, 100, 200, 400, 800, 1000, 1000, 1000}
			for i := range want {
				want[i] *= time.Millisecond
			}
			var pauses []time.Duration
			w := newWay(t, p, n, func(cfg *Config) {
				cfg.Exits.Targets, cfg.Exits.Required = targets, true
				cfg.pause = func(_ context.Context, d time.Duration) {
					pauses = append(pauses, d)
					for _, target := range targets {
						if got := len(exits[target].tunnels()); got != len(pauses) {
							t.Errorf("until pause %d the exit %s was asked %d times", len(pauses), target, got)
						}
					}
					if len(pauses) == len(want) {
						exits[theExit].leave()
					}
				}
			})
			w.filled(t)
			w.through(t)
			if !slices.Equal(pauses, want) {
				t.Errorf("the pauses are %s, want %s", pauses, want)
			}
			if on := exits[theExit].tunnels(); len(targets) == 1 && (on[0] == on[1] || on[0] != on[2]) {
				t.Errorf("the tunnels of the attempts are %q, want them in turn", on)
			}
		})
	}
}
