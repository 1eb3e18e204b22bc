// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bytes"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

const (
	// maxPending is how many bytes of streams may wait for the goroutine that writes. It
	// bounds what a stream waits behind.
	maxPending = 128 << 10
	// minPending is the same for a client without memory for more. If something waits, it also
	// bounds what a stream of such a client adds to that at once.
	minPending = 32 << 10
	// wideOutput is the memory for maxPending instead of minPending: for what waits, and for
	// as much that is being written. A client without others gets it of a Memory of growPart
	// times as much, 2 MiB.
	wideOutput = 256 << 10
	// maxControl is how many bytes of answers to the client's frames may wait. A client
	// that makes more of them does not read.
	maxControl = 64 << 10
	// maxUnread is how many bytes may wait when a stream begins. The answer to it would wait
	// behind them. It is refused, so that the client tries it on another connection.
	maxUnread = 2 * maxPending
	// maxData is the payload of a DATA frame that fills a TLS record.
	maxData = 16<<10 - headerLength
	// keptPending is how much memory an output keeps for the next write, in bytes.
	keptPending = 16 << 10
)

// output is what waits to be written. Conn.mu guards it.
type output struct {
	pending  []byte
	spare    []byte
	control  int // bytes of answers in pending
	reserved int // bytes that streams may add without waiting
	writing  bool
	wide     bool      // wideOutput was taken of the memory
	space    sync.Cond // signalled when there is room for one more sender, or nothing waits
}

// control queues a frame that is no stream's data. It never waits, so the reading
// goroutine may call it. The caller holds mu.
func (c *Conn) control(frame []byte) {
	if c.err != nil {
		return
	}
	c.out.pending = append(c.out.pending, frame...)
	c.out.control += len(frame)
	if !c.out.writing {
		c.out.writing = true
		c.writeRest()
	}
}

// write writes what waits, unless another goroutine does. It leaves to another goroutine
// what is queued meanwhile, because a caller has a target to serve. The caller holds mu,
// which is released meanwhile.
func (c *Conn) write() {
	if c.out.writing {
		return
	}
	c.out.writing = true
	c.writeBatch()
	if len(c.out.pending) > 0 && c.err == nil {
		c.writeRest()
		return
	}
	c.out.idle()
}

// writeRest starts a goroutine that writes until nothing waits. The caller holds mu, and
// has set writing.
func (c *Conn) writeRest() {
	go func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for len(c.out.pending) > 0 && c.err == nil {
			c.writeBatch()
		}
		c.out.idle()
	}()
}

// idle is called when nothing waits any more.
func (o *output) idle() {
	o.writing = false
	o.space.Broadcast()
}

// writeBatch writes what waits now. If the client holds more than its share, less may wait from
// then on. The caller holds mu, which is released meanwhile.
func (c *Conn) writeBatch() {
	batch := c.out.pending
	c.out.pending, c.out.control = c.out.spare[:0], 0
	c.out.spare = nil
	narrows := c.out.wide && c.cfg.Memory.isExceeded()
	if narrows {
		c.out.wide = false // while batch is written, its memory is in use
	}
	c.out.space.Signal()
	c.mu.Unlock()
	err := c.writeOut(batch)
	if err != nil {
		c.end(err)
	}
	c.mu.Lock()
	c.out.spare = batch[:0]
	if narrows {
		c.cfg.Memory.give(wideOutput)
		c.out.pending, c.out.spare = bytes.Clone(c.out.pending), nil // less memory
	}
}

// trim frees memory that was needed for large writes. The caller holds mu.
func (c *Conn) trim() {
	o := &c.out
	if o.writing || len(o.pending) > 0 || o.reserved > 0 {
		return
	}
	if max(cap(o.pending), cap(o.spare)) > keptPending {
		o.pending, o.spare = nil, nil
	}
	c.narrow()
}

// widen takes memory of the client's share, so that more may wait. It leaves some to streams
// that begin, and to windows. It reports whether there was some. The caller holds mu.
func (c *Conn) widen() bool {
	if c.out.wide || !c.cfg.Memory.grow(wideOutput) {
		return false
	}
	c.out.wide = true
	return true
}

// narrow gives back what widen has taken. The caller holds mu.
func (c *Conn) narrow() {
	if c.out.wide {
		c.cfg.Memory.give(wideOutput)
		c.out.wide = false
	}
}

// room returns how many bytes streams may add to what waits. The caller holds mu.
func (c *Conn) room() int {
	most := minPending
	if c.out.wide {
		most = maxPending
	}
	return most - len(c.out.pending) - c.out.reserved
}

func (c *Conn) writeOut(batch []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.cfg.WriteTimeout)) // fails if closed, as the write does
	if c.socket == nil {
		_, err := c.conn.Write(batch)
		return err
	}
	c.socket.cork()
	_, err := c.conn.Write(batch)
	if flushed := c.socket.uncork(); err == nil {
		err = flushed
	}
	return err
}

// hasRoom reports whether a stream may reserve room. The caller holds mu.
func (c *Conn) hasRoom() bool { return c.room() > 0 && c.sendWindow > 0 }

// Reserve waits for room to send, and returns how many bytes, most at the most. The caller
// gets them without waiting, and then calls Send. So bytes that cannot be sent yet stay with
// the caller's source. A stream gets room while less than maxPending waits, or less than
// minPending if the client's share has no memory for more.
func (s *Stream) Reserve(most int) (int, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.awaitRoom(); err != nil {
		return 0, err
	}
	// What is written at once needs no memory of the share.
	if waits := len(c.out.pending)+c.out.reserved > 0; waits && c.room() < most && !c.out.wide && !c.widen() {
		most = min(most, minPending)
	}
	n := int(min(int64(most), s.sendWindow, c.sendWindow))
	s.take(n)
	c.out.reserved += n
	c.signalRoom() // for the next one that waits
	return n, nil
}

// take takes n bytes of the windows, or returns them if n is negative. The caller holds mu.
func (s *Stream) take(n int) {
	s.sendWindow -= int64(n)
	s.conn.sendWindow -= int64(n)
}

// signalRoom wakes a stream that waits for room, if there is some. The caller holds mu.
func (c *Conn) signalRoom() {
	if c.hasRoom() {
		c.out.space.Signal()
	}
}

// Send sends p, for which Reserve has returned reserved. p may be shorter. Send does not
// keep p.
func (s *Stream) Send(p []byte, reserved int) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.reserved -= reserved
	s.take(len(p) - reserved)
	if err := s.sendErr(); err != nil {
		s.take(-len(p))
		c.signalRoom()
		return err
	}
	for len(p) > 0 {
		n := min(len(p), maxData, c.peerFrame)
		c.out.pending = append(appendHeader(c.out.pending, n, http2.FrameData, 0, s.id), p[:n]...)
		p = p[n:]
	}
	c.signalRoom()
	c.write()
	return s.sendErr()
}

// awaitRoom waits until the stream may reserve room. The caller holds mu.
func (s *Stream) awaitRoom() error {
	c := s.conn
	for {
		if err := s.sendErr(); err != nil {
			c.signalRoom() // it was for another stream
			return err
		}
		switch {
		case s.sendWindow <= 0:
			c.signalRoom() // for another stream
			s.sendReady.Wait()
		case !c.hasRoom() && (c.sendWindow <= 0 || !c.widen()):
			s.waits = true
			c.out.space.Wait()
			s.waits = false
		default:
			return nil
		}
	}
}

// sendErr returns why the stream cannot send. The caller holds mu.
func (s *Stream) sendErr() error {
	switch {
	case s.err != nil:
		return s.err
	case s.sentEnd:
		return ErrClosed
	default:
		return nil
	}
}

// CloseWrite sends END_STREAM behind everything that was sent.
func (s *Stream) CloseWrite() error {
	c := s.conn
	c.mu.Lock()
	if err := s.sendErr(); err != nil {
		c.mu.Unlock()
		return err
	}
	s.sentEnd = true
	c.out.pending = appendHeader(c.out.pending, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
	over := s.removeIfOver()
	c.write()
	c.mu.Unlock()
	if over {
		c.finish()
	}
	return nil
}
