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
// It holds a buffer only while there are bytes to send, because most connections of a
// sidecar are idle most of the time.
func (r *relay) upload() {
	defer r.finishDirection()
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
			return // the app took too long to close, or the relay has ended
		default:
			r.appFailed(err)
			return
		}
	}
}

// forward sends p to the target. It reports whether to continue reading.
func (r *relay) forward(p []byte) bool {
	if !r.targetIsDone() {
		if !r.answerPending.Load() && r.heldBack.idle() {
			r.opt.Pacer.ask(&r.exchange, time.Now())
			r.answerPending.Store(true)
		}
		if err := r.tun.Send(p); err == nil {
			now := time.Now()
			r.sent.Add(int64(len(p)))
			r.lastMove.set(r.started, now)
			r.lastSent.set(r.started, now)
			return true
		}
		// Receive returns the reason: the target may have closed.
		<-r.targetDone
	}
	// The app writes to a target that has closed. It gets RST, as it would from the
	// target. But it must first have taken all of the target's bytes.
	if queued, err := sockio.Unsent(r.raw); err == nil && queued > 0 {
		return true
	}
	_ = Reset(r.app)
	return false
}
