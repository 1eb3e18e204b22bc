// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"io"
	"slices"

	"golang.org/x/net/http2"
)

// Payload is what one Send sends: its parts, one behind the other. A Send takes away what
// it has sent.
type Payload [3][]byte

// size returns how many bytes are not sent yet.
func (p *Payload) size() int { return len(p[0]) + len(p[1]) + len(p[2]) }

// queueFrame appends a DATA frame with as much of p as may be sent now. It reports
// whether that was anything. The caller holds Conn.mu.
func (s *Stream) queueFrame(p *Payload) bool {
	c := s.conn
	n := min(p.size(), s.sendWindow, c.peer.window, c.peer.frame)
	if n <= 0 || len(c.out) >= sendWaitBytes || c.nextSender != s && c.hasWaiting() {
		return false
	}
	s.sendWindow -= n
	c.peer.window -= n
	c.out = appendFrame(c.out, n, http2.FrameData, 0, s.id)
	for i, part := range p {
		some := min(n, len(part))
		c.out = append(c.out, part[:some]...)
		p[i] = part[some:]
		n -= some
	}
	s.unsentRest = p.size() > 0
	return true
}

// fits reports whether all of p may be queued now. The caller holds Conn.mu.
func (s *Stream) fits(p *Payload) bool {
	c := s.conn
	n := p.size()
	frames := (n + c.peer.frame - 1) / c.peer.frame
	return !c.hasWaiting() && n <= min(s.sendWindow, c.peer.window) && len(c.out)+n+frames*frameHeaderBytes <= sendWaitBytes
}

// Send sends p. The caller may reuse its parts when Send returns. Send waits if the
// server or the connection does not accept more. It returns io.EOF if the stream has
// ended; Handler.End gets the reason. more promises that another Send follows at once,
// so that both can be written together.
func (s *Stream) Send(p *Payload, more bool) error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for p.size() > 0 {
		switch {
		case s.ended, s.closed, c.err != nil:
			s.leaveQueue()
			return io.EOF
		case s.queueFrame(p), c.flush(): // flush unlocks mu meanwhile, so that anything may have changed
		default:
			s.waitToSend()
		}
	}
	s.leaveQueue()
	if !more {
		c.flush()
	}
	return nil
}

// TrySend sends p if that needs no waiting, and reports whether it did. It sends all of p
// or nothing. More than sendWaitBytes are never sent.
func (s *Stream) TrySend(p *Payload) (sent bool, err error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.ended, s.closed, c.err != nil:
		return true, io.EOF
	case !s.fits(p):
		c.flush()
		return false, nil
	}
	for s.queueFrame(p) {
	}
	c.flush()
	return true, nil
}

// waitToSend waits until more may be sent on s, or s has ended. The caller holds
// Conn.mu.
//
// A stream that waits for what all streams share, the connection's window and space in
// out, stands in a queue. When there is some of it, the first stream in the queue
// becomes nextSender and sends. When it is done, the next one follows. So each stream
// gets a share, and no stream is woken without getting any.
func (s *Stream) waitToSend() {
	c := s.conn
	s.endTurn()
	if s.sendWindow > 0 && !s.queued {
		s.queued = true
		c.waitQueue = append(c.waitQueue, s)
	}
	s.changed.Wait()
}

// leaveQueue ends what waitToSend has begun. The caller holds Conn.mu.
func (s *Stream) leaveQueue() {
	c := s.conn
	if s.queued {
		s.queued = false
		i := slices.Index(c.waitQueue, s)
		c.waitQueue = slices.Delete(c.waitQueue, i, i+1)
	}
	s.endTurn()
}

// endTurn clears nextSender if it is s, and wakes the next stream. The caller holds
// Conn.mu.
func (s *Stream) endTurn() {
	c := s.conn
	if c.nextSender == s {
		c.nextSender = nil
	}
	c.wakeNext()
}

// hasWaiting reports whether a stream waits, or is nextSender. The caller holds mu.
func (c *Conn) hasWaiting() bool { return c.nextSender != nil || len(c.waitQueue) > 0 }

// wakeNext makes the first stream in waitQueue the nextSender, if there is none and
// something can be sent. The caller holds mu.
func (c *Conn) wakeNext() {
	if c.nextSender != nil || len(c.waitQueue) == 0 || c.peer.window <= 0 || len(c.out) >= sendWaitBytes {
		return
	}
	c.nextSender = c.waitQueue[0]
	c.waitQueue = slices.Delete(c.waitQueue, 0, 1)
	c.nextSender.queued = false
	c.nextSender.changed.Broadcast()
}
