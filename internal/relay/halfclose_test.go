// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// endlessCarrier is an endlessTunnel with backpressure.
type endlessCarrier struct{ endlessTunnel }

func (*endlessCarrier) Traits() tunnel.Traits { return tunnel.Traits{Backpressure: true} }
func (*endlessCarrier) CloseWrite() error     { return nil }
func (e *endlessCarrier) Abort() error        { return e.Close() }

// TestHalfClosedAppThatReadsSlowly: an app that has half-closed reads what lies in its
// socket's buffers. Then something moves, though the relay has nothing to do. Once the app
// reads no more, it has the timeout.
func TestHalfClosedAppThatReadsSlowly(t *testing.T) {
	const timeout = 40 * time.Second
	opt := Options{
		HalfCloseTimeout: timeout, Buffers: NewBuffers(1<<20, quota.New(8<<20)), Pacer: new(Pacer),
		AppState: func() AppState { return AppHalfClosed },
	}
	for name, open := range map[string]func(side *net.TCPConn) *relay{
		"konnectivity": func(side *net.TCPConn) *relay { return &newBuffered(side, new(endlessTunnel), opt).relay },
		"backpressure": func(side *net.TCPConn) *relay { return &newDirect(side, new(endlessCarrier), opt).relay },
	} {
		t.Run(name, func(t *testing.T) {
			app, side := slowApp(t)
			r := open(side)
			defer r.account.Close()
			now, clock := r.started, idleClock{timeout: timeout}
			acked, err := r.acked()
			must(t, err)
			// No pause is as long as the timeout. All together are three timeouts.
			for range 4 {
				acked = readUntilAcked(t, app, r, acked)
				now = now.Add(timeout * 3 / 4)
				if _, done := r.afterFIN(&clock, now); done {
					t.Fatalf("over after %s, although the app reads", now.Sub(r.started))
				}
			}
			waittest.Eventually(t, "the end, once the app's kernel accepts no more", func() bool {
				now = now.Add(timeout)
				_, done := r.afterFIN(&clock, now)
				return done
			})
			if r.reason != HalfCloseUnsupported {
				t.Errorf("the reason is %s, want %s", r.reason, HalfCloseUnsupported)
			}
			for err = nil; err == nil; {
				_, err = app.Read(make([]byte, 64<<10))
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the app sees %v, want a reset", err)
			}
		})
	}
}
