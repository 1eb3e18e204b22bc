// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// buffered is a relay through a tunnel without backpressure. It never waits for its app
// before it receives.
type buffered struct {
	relay

	evicting      sync.WaitGroup // waits for the goroutines of evict
	heldBack      *queue         // what the app has not taken yet
	paced         bool           // download receives at readRate
	answerPending atomic.Bool    // the app has sent, and nothing was received since
	readRate      readRate       // used only if paced
	exchange      exchange
	flushing      sync.WaitGroup // waits for the goroutine of flush
}

func newBuffered(app *net.TCPConn, tun Tunnel, opt Options) *buffered {
	b := &buffered{}
	b.init(b, app, tun, opt, opt.Buffers.quota.Open(b.evict))
	b.heldBack = newQueue(opt.Buffers, b.account)
	return b
}

func (b *buffered) held() int { return b.heldBack.size() }

func (b *buffered) appEnded() { b.holdFIN() }

func (b *buffered) release() { b.evicting.Wait() }

// evict ends a connection that holds the most, when all together hold too much. The
// caller may hold any lock.
func (b *buffered) evict() { b.evicting.Go(func() { b.abort(SlowReader, ErrTotal) }) }

// download moves the target's bytes to the app until the target ends.
//
// It does not wait for the app: while one connection is not received, all others
// through the same agent wait too. It holds the bytes that the app does not take at
// once, and flush writes them. If more than half of a connection's limit is held, it
// receives at the app's rate, as far as the pacer allows.
func (b *buffered) download() {
	defer b.finishDirection()
	defer b.cleanUp()
	for b.mayReceive() {
		p, err := b.tun.Receive()
		if err != nil {
			b.targetEnded(err)
			return
		}
		b.noteReceived(len(p))
		if err := b.deliver(p); err != nil {
			b.appFailed(err)
			return
		}
	}
}

// cleanUp releases what download has used. Nothing is received afterwards.
func (b *buffered) cleanUp() {
	if b.paced {
		b.opt.Pacer.removePaced()
	}
	b.opt.Pacer.end(&b.exchange)
	b.flushing.Wait()
	b.heldBack.close()
	close(b.targetDone)
}

// mayReceive waits while the app is behind and the pacer allows waiting. It returns
// false if the relay has ended.
func (b *buffered) mayReceive() bool {
	limit := b.opt.Buffers.connection
	for {
		held := b.heldBack.size()
		if !b.atAppsPace(held) {
			return true
		}
		now := time.Now()
		level := float64(held) / float64(limit)
		b.readRate.update(now, b.received.Load(), level)
		wait := b.readRate.wait(level)
		if wait == 0 {
			return true
		}
		wait = min(wait, b.opt.Pacer.beginWait(now))
		if wait == 0 {
			if held+tunnel.MaxReceive <= limit {
				return true
			}
			b.abort(SlowReader, ErrSlowReader)
			return false
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-b.ended:
			timer.Stop()
		}
		b.opt.Pacer.endWait(time.Now())
		if b.hasEnded() {
			return false
		}
	}
}

// atAppsPace reports whether to receive at the app's rate. That begins when more than a
// half of the limit is held, and ends below an eighth.
func (b *buffered) atAppsPace(held int) bool {
	limit := b.opt.Buffers.connection
	switch {
	case !b.paced && held > limit/2:
		b.paced = true
		b.readRate.start(time.Now(), b.received.Load())
		b.opt.Pacer.addPaced()
	case b.paced && held < limit/8:
		b.paced = false
		b.opt.Pacer.removePaced()
	}
	return b.paced
}

// noteReceived notes that n bytes of the target have arrived.
func (b *buffered) noteReceived(n int) {
	now := time.Now()
	b.lastMove.set(b.started, now)
	b.opt.Pacer.received(n)
	if b.paced {
		b.readRate.countReceived(n)
	}
	if b.answerPending.Load() {
		b.answerPending.Store(false)
		b.opt.Pacer.answer(&b.exchange, now)
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
func (b *buffered) deliver(p []byte) error {
	if b.heldBack.idle() {
		n, err := b.writer.TryWrite(p)
		b.received.Add(int64(n))
		if err != nil || n == len(p) {
			return err
		}
		p = p[n:]
	}
	if b.heldBack.add(p) {
		b.flushing.Go(b.flush)
	}
	return nil
}

// flush writes the held bytes until none is left.
func (b *buffered) flush() {
	for {
		p := b.heldBack.head()
		if len(p) == 0 {
			return
		}
		n, err := b.app.Write(p)
		b.received.Add(int64(n))
		b.noteMove()
		if err != nil {
			b.appFailed(err)
			return
		}
		b.heldBack.drop(n)
	}
}

// targetEnded ends the app's side after Receive has ended with err.
func (b *buffered) targetEnded(err error) {
	if errors.Is(err, io.EOF) {
		b.flushing.Wait() // so that FIN comes after all of the target's bytes
		b.targetClosed()
		return
	}
	b.targetFailed(err)
}

// forward sends p to the target. It reports whether to continue reading.
func (b *buffered) forward(p []byte) bool {
	if !b.targetIsDone() {
		if !b.answerPending.Load() && b.heldBack.idle() {
			b.opt.Pacer.ask(&b.exchange, time.Now())
			b.answerPending.Store(true)
		}
		if err := b.tun.Send(p); err == nil {
			now := time.Now()
			b.sent.Add(int64(len(p)))
			b.lastMove.set(b.started, now)
			b.lastSent.set(b.started, now)
			return true
		}
		// Receive returns the reason: the target may have closed.
		<-b.targetDone
	}
	return b.refuse()
}
