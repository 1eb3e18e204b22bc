// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// message is a message that has not arrived in full.
type message struct {
	prefix [prefix]byte
	got    int    // bytes of prefix
	length int    // of the message, where prefix is there
	pieces []byte // of it
	held   int    // bytes of memory for pieces, as the stream's Holder knows
	noted  bool   // inPieces has counted it
}

// data reads a DATA frame.
func (c *Conn) data(head http2.FrameHeader) error {
	n := int(head.Length)
	payload, err := c.in.Peek(n)
	if err != nil {
		return err
	}
	defer func() { _, _ = c.in.Discard(n) }() // they are there
	if c.window -= n; c.window < 0 {
		return fmt.Errorf("DATA beyond the connection's window: %w", http2.ConnectionError(http2.ErrCodeFlowControl))
	}
	c.arrived(n)
	s := c.lookup(head.StreamID)
	if s == nil {
		return c.idle(head.StreamID, "DATA") // which RFC 9113, section 6.1, has for stream 0 as well
	}
	broken := func(code http2.ErrCode, why string) error {
		return http2.StreamError{StreamID: s.id, Code: code, Cause: fmt.Errorf("DATA %s", why)}
	}
	if !s.answered {
		return broken(http2.ErrCodeProtocol, "before the headers")
	}
	if head.Flags.Has(http2.FlagDataPadded) {
		if n == 0 || int(payload[0]) >= n {
			return fmt.Errorf("padding of more than there is: %w", http2.ConnectionError(http2.ErrCodeProtocol))
		}
		payload = payload[1 : n-int(payload[0])]
	}
	if !s.receive(n, n-len(payload)) {
		return broken(http2.ErrCodeFlowControl, "beyond the stream's window")
	}
	if !s.body.fits(len(payload)) {
		return broken(http2.ErrCodeProtocol, "beyond its content-length")
	}
	if s.finished {
		s.drop(len(payload))
	} else if err := s.split(payload); err != nil {
		c.abort(s, http2.ErrCodeCancel, err)
		return nil
	}
	if head.Flags.Has(http2.FlagDataEndStream) {
		c.ended(s, failed(codes.Internal, nil, "server closed the stream without sending trailers"))
	}
	return nil
}

// arrived gives the connection's window back, a quarter at a time.
func (c *Conn) arrived(n int) {
	c.unreturned += n
	if c.unreturned < c.cfg.ConnectionWindow/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.out = appendWindowUpdate(c.out, 0, c.unreturned)
	}
	c.window += c.unreturned
	c.unreturned = 0
}

// receive counts n bytes of which padding is nobody's. It reports whether there
// was room for them.
func (s *Stream) receive(n, padding int) bool {
	s.flow.Lock()
	s.window -= n
	s.taken += padding
	fits, more := s.window >= 0, s.due()
	s.flow.Unlock()
	s.allow(more)
	return fits
}

// drop gives n bytes back that nobody takes, since the stream is finished.
func (s *Stream) drop(n int) {
	s.flow.Lock()
	s.taken += n
	more := s.due()
	s.flow.Unlock()
	s.allow(more)
}

// allow lets the server send n bytes more; wake writes it.
func (s *Stream) allow(n int) {
	if n == 0 || s.over.Load() {
		return
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.out = appendWindowUpdate(c.out, s.id, n)
	}
}

// split hands over the messages of which p has the end.
func (s *Stream) split(p []byte) error {
	m := &s.message
	for len(p) > 0 && !s.over.Load() && !s.finished {
		if m.got < prefix {
			n := copy(m.prefix[m.got:], p)
			m.got += n
			p = p[n:]
			if m.got < prefix {
				break
			}
			if err := m.open(s.most()); err != nil {
				return err
			}
			s.begun = true
		}
		missing := m.length - len(m.pieces)
		if len(p) < missing {
			m.pieces = append(s.conn.buffer(m.pieces), p...)
			s.holds(cap(m.pieces))
			break
		}
		whole, pieces := p[:missing], m.pieces
		if pieces != nil {
			pieces = append(pieces, whole...)
			whole = pieces
		}
		p = p[missing:]
		m.got, m.pieces = 0, nil
		s.complete()
		s.deliver(whole)
		s.holds(0)
		s.conn.recycle(pieces)
	}
	s.inPieces()
	return nil
}

// most returns how many bytes the next message may have.
func (s *Stream) most() int {
	if !s.begun && s.conn.cfg.MaxFirst > 0 {
		return s.conn.cfg.MaxFirst
	}
	return s.conn.cfg.MaxMessage
}

// holds notes that so many bytes are held for the pieces of a message.
func (s *Stream) holds(n int) {
	m := &s.message
	if by := n - m.held; by != 0 && s.holder != nil {
		s.holder.Holds(by)
	}
	m.held = n
}

// open reads the prefix.
func (m *message) open(most int) error {
	length := binary.BigEndian.Uint32(m.prefix[1:])
	switch {
	case m.prefix[0] != 0:
		return failed(codes.Internal, nil, "grpc: the server has compressed a message, which nobody has asked it to")
	case uint64(length) > uint64(most):
		return failed(codes.ResourceExhausted, nil, "grpc: received message larger than max (%d vs. %d)", length, most)
	}
	m.length = int(length)
	return nil
}

// deliver hands a message over.
func (s *Stream) deliver(p []byte) {
	s.handler.Message(p)
	if !s.isFresh {
		s.isFresh = true
		s.conn.fresh = append(s.conn.fresh, s)
	}
}

// inPieces notes how much of a message is here of which not all is. Where somebody
// waits for it, the server may send more.
func (s *Stream) inPieces() {
	n := s.message.got + len(s.message.pieces)
	if n == 0 {
		return
	}
	s.message.noted = true
	s.flow.Lock()
	s.pieces = n - s.ahead
	more := s.due()
	s.flow.Unlock()
	s.allow(more)
}

// complete notes that the message is here: all of it is for Taken to give back,
// but for what was given back before.
func (s *Stream) complete() {
	if !s.message.noted {
		return
	}
	s.message.noted = false
	s.flow.Lock()
	defer s.flow.Unlock()
	s.prepaid += s.ahead
	s.pieces, s.ahead = 0, 0
}

// buffer returns where the pieces of a message are put together.
func (c *Conn) buffer(pieces []byte) []byte {
	if pieces == nil {
		pieces, c.spare = c.spare[:0], nil
	}
	return pieces
}

// recycle takes a buffer back, unless it is a large one.
func (c *Conn) recycle(pieces []byte) {
	if pieces != nil && cap(pieces) <= 2*maxFrame {
		c.spare = pieces
	}
}
