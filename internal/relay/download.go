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
// It does not wait for the app: while one connection is not received, every
// other one through the same agent stands still. What the app does not take at
// once is held back and written by flush. Above half of what a connection may
// hold, it is received at its app's pace, as far as the pacer allows.
func (r *relay) download() {
	defer r.finish()
	defer r.settle()
	for r.mayReceive() {
		p, err := r.tun.Receive()
		if err != nil {
			r.targetEnded(err)
			return
		}
		r.arrived(len(p))
		if err := r.deliver(p); err != nil {
			r.appFailed(err)
			return
		}
	}
}

// settle tidies up when nothing will be received any more.
func (r *relay) settle() {
	if r.paced {
		r.opt.Pacer.fast()
	}
	r.opt.Pacer.end(&r.exchange)
	r.flushing.Wait()
	r.held.close()
	close(r.targetDone)
}

// mayReceive waits while the app is behind and the others can bear it. It
// returns false once the relay is over.
func (r *relay) mayReceive() bool {
	limit := r.opt.Buffers.connection
	for {
		held := r.held.size()
		if !r.atAppsPace(held) {
			return true
		}
		now := time.Now()
		level := float64(held) / float64(limit)
		r.appetite.look(now, r.received.Load(), level)
		wait := r.appetite.wait(level)
		if wait == 0 {
			return true
		}
		wait = min(wait, r.opt.Pacer.hold(now))
		if wait == 0 {
			if held+piece <= limit {
				return true
			}
			r.abort(SlowReader, errSlowReader)
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.over:
			timer.Stop()
		}
		r.opt.Pacer.release(time.Now())
		if r.isOver() {
			return false
		}
	}
}

// atAppsPace reports whether to receive at the app's pace: from when more than
// half of what may be held back is, until hardly anything is.
func (r *relay) atAppsPace(held int) bool {
	limit := r.opt.Buffers.connection
	switch {
	case !r.paced && held > limit/2:
		r.paced = true
		r.appetite.start(time.Now(), r.received.Load())
		r.opt.Pacer.slow()
	case r.paced && held < limit/8:
		r.paced = false
		r.opt.Pacer.fast()
	}
	return r.paced
}

func (r *relay) isOver() bool { return isClosed(r.over) }

// arrived notes that n bytes of the target have come.
func (r *relay) arrived(n int) {
	now := time.Now()
	r.moved.set(r.began, now)
	r.opt.Pacer.received(n)
	if r.paced {
		r.appetite.eat(n)
	}
	if r.asked.Load() {
		r.asked.Store(false)
		r.opt.Pacer.answer(&r.exchange, now)
	}
}

var (
	errSlowReader = errors.New("the app reads more slowly than the tunnel may be held back for it, and its buffer is full (--connection-buffer)")
	errTotal      = errors.New("apps that read slowly hold back too much, and this one the most (--total-buffer)")
)

// deliver writes p to the app as far as its kernel takes it at once, and holds
// the rest back.
func (r *relay) deliver(p []byte) error {
	if r.held.idle() {
		n, err := r.writer.TryWrite(p)
		r.received.Add(int64(n))
		if err != nil || n == len(p) {
			return err
		}
		p = p[n:]
	}
	if r.held.add(p) {
		r.flushing.Go(r.flush)
	}
	return nil
}

// flush writes what is held back until nothing is.
func (r *relay) flush() {
	for {
		p := r.held.head()
		if len(p) == 0 {
			return
		}
		n, err := r.app.Write(p)
		r.received.Add(int64(n))
		r.touch()
		if err != nil {
			r.appFailed(err)
			return
		}
		r.held.drop(n)
	}
}

// targetEnded passes the end of the target on to the app.
func (r *relay) targetEnded(err error) {
	switch {
	case errors.Is(err, io.EOF):
		r.flushing.Wait() // the app gets its FIN behind everything that the target said
		r.conclude(TargetClosed, nil)
		_ = r.app.SetLinger(disarmed)
		_ = r.app.CloseWrite()
		// It may take its time to close, but not for ever.
		_ = r.app.SetReadDeadline(time.Now().Add(r.opt.HalfCloseTimeout))
	case errors.Is(err, tunnel.ErrClosed):
		// Whoever closed it has concluded.
	case r.appGone.Load():
		// Nobody is left to be told of it.
		r.conclude(AppClosed, nil)
	case errors.Is(err, tunnel.ErrProtocol):
		r.abort(Protocol, err)
	case errors.Is(err, tunnel.ErrUnreceived):
		r.abort(SlowReader, errTotal)
	default:
		r.abort(TunnelBroken, err)
	}
}
