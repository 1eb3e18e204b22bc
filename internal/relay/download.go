// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"io"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// download moves the target's bytes to the app until the target ends.
//
// It does not wait for the app: while one connection is not received, all others
// through the same agent wait too. It holds the bytes that the app does not take at
// once, and flush writes them. If more than half of a connection's limit is held, it
// receives at the app's rate, as far as the pacer allows.
func (r *relay) download() {
	defer r.finishDirection()
	defer r.cleanUp()
	for r.mayReceive() {
		p, err := r.tun.Receive()
		if err != nil {
			r.targetEnded(err)
			return
		}
		r.noteReceived(len(p))
		if err := r.deliver(p); err != nil {
			r.appFailed(err)
			return
		}
	}
}

// cleanUp releases what download has used. Nothing is received afterwards.
func (r *relay) cleanUp() {
	if r.paced {
		r.opt.Pacer.removePaced()
	}
	r.opt.Pacer.end(&r.exchange)
	r.flushing.Wait()
	r.heldBack.close()
	close(r.targetDone)
}

// mayReceive waits while the app is behind and the pacer allows waiting. It returns
// false if the relay has ended.
func (r *relay) mayReceive() bool {
	limit := r.opt.Buffers.connection
	for {
		held := r.heldBack.size()
		if !r.atAppsPace(held) {
			return true
		}
		now := time.Now()
		level := float64(held) / float64(limit)
		r.readRate.update(now, r.received.Load(), level)
		wait := r.readRate.wait(level)
		if wait == 0 {
			return true
		}
		wait = min(wait, r.opt.Pacer.beginWait(now))
		if wait == 0 {
			if held+tunnel.MaxReceive <= limit {
				return true
			}
			r.abort(SlowReader, ErrSlowReader)
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.ended:
			timer.Stop()
		}
		r.opt.Pacer.endWait(time.Now())
		if r.hasEnded() {
			return false
		}
	}
}

// atAppsPace reports whether to receive at the app's rate. That begins when more than a
// half of the limit is held, and ends below an eighth.
func (r *relay) atAppsPace(held int) bool {
	limit := r.opt.Buffers.connection
	switch {
	case !r.paced && held > limit/2:
		r.paced = true
		r.readRate.start(time.Now(), r.received.Load())
		r.opt.Pacer.addPaced()
	case r.paced && held < limit/8:
		r.paced = false
		r.opt.Pacer.removePaced()
	}
	return r.paced
}

func (r *relay) hasEnded() bool { return isClosed(r.ended) }

// noteReceived notes that n bytes of the target have arrived.
func (r *relay) noteReceived(n int) {
	now := time.Now()
	r.lastMove.set(r.started, now)
	r.opt.Pacer.received(n)
	if r.paced {
		r.readRate.countReceived(n)
	}
	if r.answerPending.Load() {
		r.answerPending.Store(false)
		r.opt.Pacer.answer(&r.exchange, now)
	}
}

// The errors of the reason [SlowReader]. They say which limit was reached: that of one
// app, or that of all.
var (
	ErrSlowReader = errors.New("the app reads more slowly than the tunnel may be held back for it, and its buffer is full")
	ErrTotal      = errors.New("apps that read slowly hold back too much, and this one the most")
)

// deliver writes p to the app as far as its kernel accepts it at once, and holds the
// rest.
func (r *relay) deliver(p []byte) error {
	if r.heldBack.idle() {
		n, err := r.writer.TryWrite(p)
		r.received.Add(int64(n))
		if err != nil || n == len(p) {
			return err
		}
		p = p[n:]
	}
	if r.heldBack.add(p) {
		r.flushing.Go(r.flush)
	}
	return nil
}

// flush writes the held bytes until none is left.
func (r *relay) flush() {
	for {
		p := r.heldBack.head()
		if len(p) == 0 {
			return
		}
		n, err := r.app.Write(p)
		r.received.Add(int64(n))
		r.noteMove()
		if err != nil {
			r.appFailed(err)
			return
		}
		r.heldBack.drop(n)
	}
}

// targetEnded ends the app's side after Receive has ended with err.
func (r *relay) targetEnded(err error) {
	switch {
	case errors.Is(err, io.EOF):
		r.flushing.Wait() // so that FIN comes after all of the target's bytes
		r.conclude(TargetClosed, nil)
		_ = r.app.SetLinger(disarmed)
		_ = r.app.CloseWrite()
		// The app may close later, but not after this timeout.
		_ = r.app.SetReadDeadline(time.Now().Add(r.opt.HalfCloseTimeout))
	case errors.Is(err, tunnel.ErrClosed):
		// The caller of Close has already set the reason.
	case r.appGone.Load():
		// The app has closed, so it needs no RST.
		r.conclude(AppClosed, nil)
	case errors.Is(err, tunnel.ErrProtocol):
		r.abort(Protocol, err)
	case errors.Is(err, tunnel.ErrUnreceived):
		r.abort(SlowReader, ErrTotal)
	default:
		r.abort(TunnelBroken, err)
	}
}
