// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// watchInterval is how often a watch looks.
const watchInterval = time.Second

// watch looks at one end of a relay while the goroutine that would notice its end waits for
// the other.
type watch struct {
	active atomic.Bool
	timer  *time.Timer // nil until the first begin
}

// looker is what a watch calls.
type looker interface {
	// look reports whether to look again.
	look() (again bool)
}

// begin begins to look. at and interval are always the same.
func (w *watch) begin(at looker, interval time.Duration) {
	if w.timer == nil {
		w.timer = time.AfterFunc(interval, func() {
			if w.active.Load() && at.look() {
				w.timer.Reset(interval)
			}
		})
	}
	w.active.Store(true)
	w.timer.Reset(interval)
}

// stop ends it. One look may still be running.
func (w *watch) stop() {
	if w.timer != nil {
		w.active.Store(false)
		w.timer.Stop()
	}
}

// unreadApp notices that the app resets its connection while no goroutine reads from it:
// a Send waits for the target, or the app has half-closed. A target that takes nothing
// may do so for hours, and would otherwise not learn that its app is gone.
type unreadApp direct

// look implements looker.
func (u *unreadApp) look() (again bool) {
	d := (*direct)(u)
	if !sockio.HasError(d.raw) {
		return true
	}
	d.appFailed(syscall.ECONNRESET)
	return false
}

// unreceivedTarget notices that the target resets, or that the way to it breaks, while
// download waits for an app that takes nothing. Such an app may wait for hours, and would
// otherwise not learn that its target is gone. On a direct connection its kernel tells it at
// once.
type unreceivedTarget direct

// look implements looker. An app that takes bytes gets all that was sent before the end.
func (u *unreceivedTarget) look() (again bool) {
	d := (*direct)(u)
	if !tunnel.IsBroken(d.carrier) {
		return true
	}
	acked, err := d.acked()
	if err != nil {
		return false // app is closed, so the relay has ended
	}
	if d.ackedAtEnd.Swap(int64(acked)) != int64(acked) {
		return true
	}
	_ = d.app.SetWriteDeadline(time.Now()) // Receive then tells download the cause
	return false
}
