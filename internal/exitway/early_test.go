// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"io"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// hello is a tunnel.Early whose app has sent a text.
type hello struct{ sent int }

func (h *hello) Begin(send func(p []byte) bool) {
	if send([]byte("hello")) {
		h.sent = len("hello")
	}
}

func (*hello) End()        {}
func (h *hello) Sent() int { return h.sent }
func (h *hello) TakeBack() { h.sent = 0 }

// TestEarlyBytes: a dial is repeated only if no target can have the app's first bytes.
func TestEarlyBytes(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fail     func(http.ResponseWriter)
		repeated bool
	}{
		{"an exit that is full", func(w http.ResponseWriter) {
			w.Header().Set("Proxy-Status", "exit; error=connection_limit_reached")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, true},
		{"an exit that breaks", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var asked atomic.Int32
			p := newPKI(t)
			e := startExit(t, p, func(e *exitServer) {
				e.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if _, err := io.ReadFull(r.Body, make([]byte, len("hello"))); err != nil {
						t.Errorf("the first bytes: %v", err)
					}
					if asked.Add(1) == 1 {
						tc.fail(w)
						return
					}
					_ = http.NewResponseController(w).Flush()
				})
			})
			w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
			w.filled(t)
			h := &hello{}
			c, err := w.DialEarly(t.Context(), target, nil, h)
			if c != nil {
				defer c.Close()
			}
			want := int32(1)
			if tc.repeated {
				want = 2
			}
			if (err == nil) != tc.repeated || asked.Load() != want || h.sent != len("hello") {
				t.Errorf("the dial ends with %v after %d attempts, and %d bytes count as sent", err, asked.Load(), h.sent)
			}
			if _, plain := w.network.attempts(); plain != 0 {
				t.Errorf("%d dials of the plain way", plain)
			}
		})
	}
}

// quiet is a session whose peer has not answered a PING.
type quiet struct{ session }

func (quiet) Quiet() bool { return true }

// silence makes the tunnels of some slots quiet.
func (f *fixture) silence(slots []*slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range slots {
		s.current.session = quiet{s.current.session}
	}
}

// TestEarlyBytesOnAQuietTunnel: a tunnel that may be dead gets nothing behind a dial, so that
// the dial is repeated elsewhere.
func TestEarlyBytesOnAQuietTunnel(t *testing.T) {
	var asked atomic.Int32
	p := newPKI(t)
	e := startExit(t, p, func(e *exitServer) {
		e.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			_ = http.NewResponseController(w).Flush()
		})
	})
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	w.filled(t)
	w.silence(w.slots)
	h := &hello{}
	c, err := w.DialEarly(t.Context(), target, nil, h)
	if err != nil {
		t.Fatalf("the dial is not repeated: %v", err)
	}
	defer c.Close()
	if asked.Load() != 2 || h.sent != 0 {
		t.Errorf("the exit was asked %d times, want 2, and %d bytes went behind a dial, want none", asked.Load(), h.sent)
	}
}

// TestQuietTunnelComesLast: a dial takes a tunnel that answers, although it has more streams.
func TestQuietTunnelComesLast(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), nil)
	w.filled(t)
	last := len(w.slots) - 1
	if last < 1 {
		t.Fatal("this test needs two slots")
	}
	w.silence(w.slots[:last])
	for range 3 {
		c := w.through(t)
		defer c.Close()
		if c.(*stream).tunnel != w.slots[last].current {
			t.Fatal("the dial took a tunnel that is quiet")
		}
	}
}
