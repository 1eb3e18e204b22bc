// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"io"
	"net"
	"os"
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
		if n > 0 && !r.way.forward(in.buf.bytes[:n]) {
			in.release()
			return
		}
		in.release()
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			r.way.appEnded()
			return
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return // the app took too long to close, or the relay has ended
		default:
			r.appFailed(err)
			return
		}
	}
}
