// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// resetInterval is how often a resetWatch looks at its app.
const resetInterval = time.Second

// resetWatch notices that the app resets its connection while no goroutine reads from it:
// a Send waits for the target, or the app has half-closed. A target that takes nothing
// may do so for hours, and would otherwise not learn that its app is gone.
type resetWatch struct {
	active atomic.Bool
	timer  *time.Timer // nil until the first begin
}

// begin begins to look at r's app.
func (w *resetWatch) begin(r *relay) {
	if w.timer == nil {
		w.timer = time.AfterFunc(resetInterval, func() { w.look(r) })
	}
	w.active.Store(true)
	w.timer.Reset(resetInterval)
}

func (w *resetWatch) look(r *relay) {
	switch {
	case !w.active.Load():
	case appHasReset(r.raw):
		r.appFailed(syscall.ECONNRESET)
	default:
		w.timer.Reset(resetInterval)
	}
}

// stop ends it. One look may still be running.
func (w *resetWatch) stop() {
	if w.timer != nil {
		w.active.Store(false)
		w.timer.Stop()
	}
}

// appHasReset reports whether the kernel has an error of the app's connection. A reset is
// one, and so is an app that no longer answers. FIN in both directions is none.
func appHasReset(raw syscall.RawConn) (reset bool) {
	_ = sockio.Control(raw, func(fd int) error {
		events, err := sockio.Poll(fd, 0)
		reset = err == nil && events&unix.POLLERR != 0
		return err
	})
	return reset
}
