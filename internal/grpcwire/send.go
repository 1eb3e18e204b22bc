// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"encoding/binary"
	"io"
	"slices"

	"golang.org/x/net/http2"
)

// outgoing is what is still to be sent of a message.
type outgoing struct {
	stream *Stream
	parts  [3][]byte // prefix, and the two that Send was given
	prefix [prefix]byte
}

func (m *outgoing) begin(s *Stream, head, body []byte) {
	m.stream = s
	binary.BigEndian.PutUint32(m.prefix[1:], uint32(len(head)+len(body)))
	m.parts = [...][]byte{m.prefix[:], head, body}
}

// size is how many bytes are still to be sent.
func (m *outgoing) size() int { return len(m.parts[0]) + len(m.parts[1]) + len(m.parts[2]) }

// put puts as much as may be sent now into a frame, and reports whether that was
// anything. The caller holds Conn.mu.
func (m *outgoing) put() bool {
	s := m.stream
	c := s.conn
	n := min(m.size(), s.allowed, c.peer.window, c.peer.frame)
	if n <= 0 || len(c.out) >= room || c.turn != s && c.queues() {
		return false
	}
	s.allowed -= n
	c.peer.window -= n
	c.out = appendFrame(c.out, n, http2.FrameData, 0, s.id)
	for i, part := range m.parts {
		some := min(n, len(part))
		c.out = append(c.out, part[:some]...)
		m.parts[i] = part[some:]
		n -= some
	}
	s.midway = m.size() > 0
	return true
}

// fits reports whether put would put all of the message. The caller holds Conn.mu.
func (m *outgoing) fits() bool {
	s := m.stream
	c := s.conn
	n := m.size()
	frames := (n + c.peer.frame - 1) / c.peer.frame
	return !c.queues() && n <= min(s.allowed, c.peer.window) && len(c.out)+n+frames*frameHead <= room
}

// Send sends a message, which is head with body behind it. Both may be used again
// when it returns. It waits where the server, or the connection, does not take
// more. It returns io.EOF where the stream has ended; why is for Handler.End to
// say. more promises that another Send follows at once, with which this one may
// leave.
func (s *Stream) Send(head, body []byte, more bool) error {
	var m outgoing
	m.begin(s, head, body)
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for m.size() > 0 {
		switch {
		case s.ended, s.closed, c.err != nil:
			s.leave()
			return io.EOF
		case m.put(), c.flush(): // which lets others in, who may have changed everything
		default:
			s.wait()
		}
	}
	s.leave()
	if !more {
		c.flush()
	}
	return nil
}

// TrySend is Send where that would not wait, and reports whether it was done. A
// message goes whole or not at all, so one that is longer than room never does.
func (s *Stream) TrySend(p []byte) (sent bool, err error) {
	var m outgoing
	m.begin(s, p, nil)
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.ended, s.closed, c.err != nil:
		return true, io.EOF
	case !m.fits():
		c.flush()
		return false, nil
	}
	for m.put() {
	}
	c.flush()
	return true, nil
}

// wait waits until more may be sent on s, or nothing more. The caller holds
// Conn.mu.
//
// Who waits for what all streams share stands in a queue. Whenever there is some
// of it, the first has its turn, and when it is done the next: so each gets
// something, and none is woken in vain.
func (s *Stream) wait() {
	c := s.conn
	s.yield()
	if s.allowed > 0 && !s.queued {
		s.queued = true
		c.waiting = append(c.waiting, s)
	}
	s.changed.Wait()
}

// leave ends what wait has begun. The caller holds Conn.mu.
func (s *Stream) leave() {
	c := s.conn
	if s.queued {
		s.queued = false
		i := slices.Index(c.waiting, s)
		c.waiting = slices.Delete(c.waiting, i, i+1)
	}
	s.yield()
}

// yield ends the turn of s, if it has it. The caller holds Conn.mu.
func (s *Stream) yield() {
	c := s.conn
	if c.turn == s {
		c.turn = nil
	}
	c.next()
}

// queues reports whether somebody waits, or has waited and has its turn now. The
// caller holds mu.
func (c *Conn) queues() bool { return c.turn != nil || len(c.waiting) > 0 }

// next gives the turn to the first that waits, where nobody has it and something
// can be sent. The caller holds mu.
func (c *Conn) next() {
	if c.turn != nil || len(c.waiting) == 0 || c.peer.window <= 0 || len(c.out) >= room {
		return
	}
	c.turn = c.waiting[0]
	c.waiting = slices.Delete(c.waiting, 0, 1)
	c.turn.queued = false
	c.turn.changed.Broadcast()
}
