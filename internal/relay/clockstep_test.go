// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"net"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clocktest"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/quota"
)

// endlessTunnel is a tunnel on which nothing happens.
type endlessTunnel struct{ closed bool }

func (*endlessTunnel) Receive() ([]byte, error) { select {} }
func (*endlessTunnel) Send([]byte) error        { return nil }
func (e *endlessTunnel) Close() error           { e.closed = true; return nil }

// The wall clock is set an hour forward or back. The times since the last movement stay
// correct.
func TestASteppedClockMovesNothing(t *testing.T) {
	const timeout = 10 * time.Second
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(step.String(), func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer l.Close()
			app, err := net.Dial("tcp", l.Addr().String())
			must(t, err)
			defer app.Close()
			side, err := l.Accept()
			must(t, err)
			defer side.Close()
			state, tun := AppHalfClosed, new(endlessTunnel)
			r := newBuffered(side.(*net.TCPConn), tun, Options{
				HalfCloseTimeout: timeout, Buffers: NewBuffers(defaults.ConnectionBuffer, quota.New(defaults.TotalBuffer)), Pacer: new(Pacer), AppState: func() AppState { return state },
			})
			if !r.forward([]byte("moved")) {
				t.Fatal("nothing can be sent")
			}
			soon, late := clocktest.Step(t, time.Now(), step), clocktest.Step(t, time.Now().Add(timeout), step)

			if wait, done := r.afterFIN(&idleClock{timeout: timeout}, soon); done || wait <= 0 || wait > timeout {
				t.Errorf("half-closed, just after a byte: over is %v, else to be looked at in %s, want within %s", done, wait, timeout)
			}
			clock := idleClock{timeout: timeout}
			if again, idle := r.checkIdle(&clock, soon); idle || again <= 0 || again > timeout {
				t.Errorf("just after a byte: idle is %v, else to be looked at in %s, want within %s", idle, again, timeout)
			}
			if _, idle := r.checkIdle(&idleClock{timeout: timeout}, late); !idle {
				t.Errorf("not idle %s after the last byte", timeout)
			}
			state = AppGone
			if wait, done := r.afterFIN(&idleClock{timeout: timeout}, soon); done || tun.closed || wait <= 0 || wait > closeDelay {
				t.Errorf("closed, just after a byte: the tunnel is closed: %v, else to be looked at in %s, want within %s", done, wait, closeDelay)
			}
			if _, done := r.afterFIN(&idleClock{timeout: timeout}, late); !done || !tun.closed {
				t.Errorf("the tunnel of an app that has closed is kept %s after its last byte", timeout)
			}
		})
	}
}
