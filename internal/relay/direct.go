// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// lastBytesTimeout is how long an app that writes to a target which is gone may take to
// read what the target has sent before.
const lastBytesTimeout = 5 * time.Second

// direct is a relay through a tunnel with backpressure. It receives when its app has
// taken what was received before. What is not received waits in the tunnel, and stops
// this target only.
//
// If the tunnel carries half-closes, each direction ends by itself, after whatever time.
type direct struct {
	relay
	carrier Carrier
	traits  tunnel.Traits

	writing   atomic.Int64 // bytes that wait for the app
	targetFIN atomic.Bool  // the target's end was passed on, and the app may still send
	refused   bool         // Send has failed; used by upload
	discards  bool         // the app has not taken the last bytes in time; used by download

	resets     watch        // for an unreadApp; used by upload
	ends       watch        // for an unreceivedTarget; used by download
	ackedAtEnd atomic.Int64 // bytes that the app had taken when the last look found the way broken; -1 before
}

func newDirect(app *net.TCPConn, carrier Carrier, opt Options) *direct {
	d := &direct{carrier: carrier, traits: carrier.Traits()}
	d.ackedAtEnd.Store(-1)
	d.init(d, app, carrier, opt, opt.Buffers.quota.Open(nil))
	return d
}

func (d *direct) held() int { return int(d.writing.Load()) + tunnel.HeldBy(d.carrier) }

func (d *direct) release() {
	d.resets.stop()
	d.ends.stop()
}

// download moves the target's bytes to the app until the target ends.
func (d *direct) download() {
	defer d.finishDirection()
	defer close(d.targetDone)
	for {
		p, err := d.tun.Receive()
		if err != nil {
			if d.targetEnded(err) {
				continue
			}
			return
		}
		d.noteMove()
		if err := d.deliver(p); err != nil {
			d.appFailed(err)
			return
		}
	}
}

// deliver writes p to the app, and waits for it.
func (d *direct) deliver(p []byte) error {
	if d.discards {
		return nil
	}
	d.writing.Store(int64(len(p)))
	n, err := d.write(p)
	d.writing.Store(0)
	d.received.Add(int64(n))
	d.noteMove()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// Receive returns soon why Send has failed.
		d.discards = true
		return nil
	}
	return err
}

// write writes p to the app. If it has to wait, it looks whether the way still stands.
func (d *direct) write(p []byte) (int, error) {
	n, err := d.writer.TryWrite(p)
	if err != nil || n == len(p) {
		return n, err
	}
	d.ends.begin((*unreceivedTarget)(d), d.opt.wait(watchInterval))
	defer d.ends.stop()
	more, err := d.writer.Write(p[n:])
	return n + more, err
}

// targetEnded ends the app's side after Receive has ended with err. It reports whether
// to receive again.
func (d *direct) targetEnded(err error) (again bool) {
	switch {
	case !errors.Is(err, io.EOF):
		d.targetFailed(err)
	case d.discards:
		d.abort(TargetClosed, nil)
	case !d.traits.HalfClose:
		d.targetClosed()
	case !d.targetFIN.Swap(true):
		// The app may send as long as it likes. It stays armed, because it gets RST if
		// the target resets now, or if this process dies.
		_ = d.app.CloseWrite()
		return d.traits.Resets
	}
	return false
}

// forward sends p to the target. It reports whether to continue reading.
func (d *direct) forward(p []byte) bool {
	if d.maySend() {
		d.resets.begin((*unreadApp)(d), d.opt.wait(watchInterval))
		err := d.tun.Send(p)
		d.resets.stop()
		if err == nil {
			now := time.Now()
			d.sent.Add(int64(len(p)))
			d.lastMove.set(d.started, now)
			d.lastSent.set(d.started, now)
			return true
		}
		if d.sendFailed(err) {
			return false
		}
	}
	if d.targetIsDone() {
		return d.refuse()
	}
	return true // p is lost, as it would be at the target; download ends the relay
}

func (d *direct) maySend() bool {
	return !d.refused && (d.traits.HalfClose || !d.targetIsDone())
}

// sendFailed handles the failure of a Send or CloseWrite. It reports whether the relay
// has ended.
func (d *direct) sendFailed(err error) (ended bool) {
	// Receive returns the cause, after what the target has sent before: that may be why it
	// takes no more. download may be waiting for the app, which may wait until its bytes are
	// taken.
	d.refused = true
	_ = d.app.SetWriteDeadline(time.Now().Add(d.opt.wait(lastBytesTimeout)))
	if errors.Is(err, tunnel.ErrReset) {
		<-d.targetDone
		d.targetFailed(err) // Receive may have told of an end only
		return true
	}
	return false
}

// appEnded handles the end of what the app sends.
func (d *direct) appEnded() {
	if d.resetSeen() {
		return
	}
	if !d.traits.HalfClose {
		d.holdFIN()
		return
	}
	d.appFinished.Store(true)
	d.appFirst = !d.targetFIN.Load()
	if d.refused {
		return
	}
	// From here on no goroutine reads from the app, up to the end of the relay.
	d.resets.begin((*unreadApp)(d), d.opt.wait(watchInterval))
	d.sentAll.Store(!d.traits.Resets)
	if err := d.carrier.CloseWrite(); err != nil {
		d.sentAll.Store(false)
		d.sendFailed(err)
	}
}

// resetSeen ends the relay if the app's end of file is a reset. The kernel reports a
// reset to one call only: if that is a write of download, the next read returns an end of
// file. resetSeen also reports an end that came before.
//
// The state of a connection is TCP_CLOSE after a reset, and after FIN in both directions.
func (d *direct) resetSeen() bool {
	info, err := sockio.TCPInfo(d.raw)
	switch {
	case err != nil: // app is closed, so download has ended the relay
		return true
	case info.State == unix.BPF_TCP_CLOSE && !d.targetFIN.Load() && !d.targetIsDone():
		d.appFailed(syscall.ECONNRESET)
		return true
	default:
		return false
	}
}
