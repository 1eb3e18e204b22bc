// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// upload moves the app's bytes to the target until the app ends.
//
// It holds a buffer from the moment when there are bytes to the one when they are
// sent: most connections of a sidecar are idle most of the time.
func (r *relay) upload() {
	defer r.finish()
	in := newAppReader(r)
	for {
		n, err := in.read()
		if n > 0 && !r.forward(in.buf.bytes[:n]) {
			in.release()
			return
		}
		in.release()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			r.appEnded()
			return
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return // lingered for long enough, or the relay is over
		default:
			r.appFailed(err)
			return
		}
	}
}

// forward sends p to the target. It reports whether to go on reading.
func (r *relay) forward(p []byte) bool {
	if !r.targetIsDone() {
		if !r.asked.Load() && r.held.idle() {
			r.opt.Pacer.ask(&r.exchange, time.Now())
			r.asked.Store(true)
		}
		if err := r.tun.Send(p); err == nil {
			now := time.Now()
			r.sent.Add(int64(len(p)))
			r.moved.set(r.began, now)
			r.lastSent.set(r.began, now)
			return true
		}
		// Why it failed is for Receive to say: the target may have closed.
		<-r.targetDone
	}
	// The app writes to a target that has closed, and learns it as it would
	// without us, but not before it has taken what the target said.
	if queued, err := sockio.Unsent(r.raw); err == nil && queued > 0 {
		return true
	}
	_ = Reset(r.app)
	return false
}
