// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
)

// message is a message of which not all has arrived.
type message struct {
	prefix    [prefixBytes]byte
	prefixLen int    // bytes of prefix that have arrived
	length    int    // of the message; valid if prefix is complete
	pieces    []byte // the part of the message that has arrived
	heldBytes int    // capacity of pieces, as reported to the BufferCounter
	counted   bool   // countPieces has counted it
}

// handleData processes a DATA frame.
func (c *Conn) handleData(head http2.FrameHeader) error {
	n := int(head.Length)
	payload, err := c.in.Peek(n)
	if err != nil {
		return err
	}
	defer func() { _, _ = c.in.Discard(n) }() // cannot fail: Peek has read them
	if c.recvWindow -= n; c.recvWindow < 0 {
		return fmt.Errorf("DATA beyond the connection's window: %w", http2.ConnectionError(http2.ErrCodeFlowControl))
	}
	c.returnWindow(n)
	s := c.lookup(head.StreamID)
	if s == nil {
		return c.checkOpened(head.StreamID, "DATA") // for stream 0 too (RFC 9113, section 6.1)
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
	if !s.countReceived(n, n-len(payload)) {
		return broken(http2.ErrCodeFlowControl, "beyond the stream's window")
	}
	if !s.body.count(len(payload)) {
		return broken(http2.ErrCodeProtocol, "beyond its content-length")
	}
	if s.finished {
		s.discard(len(payload))
	} else if err := s.splitMessages(payload); err != nil {
		c.abort(s, http2.ErrCodeCancel, err)
		return nil
	}
	if head.Flags.Has(http2.FlagDataEndStream) {
		c.endInOrder(s, failed(codes.Internal, nil, "server closed the stream without sending trailers"))
	}
	return nil
}

// returnWindow counts n received bytes, and returns the connection's window, a quarter
// at a time.
func (c *Conn) returnWindow(n int) {
	c.unreturnedBytes += n
	if c.unreturnedBytes < c.cfg.ConnectionWindow/4 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.out = appendWindowUpdate(c.out, 0, c.unreturnedBytes)
	}
	c.recvWindow += c.unreturnedBytes
	c.unreturnedBytes = 0
}

// countReceived counts n bytes, padding included. It reports whether the stream's
// window allowed them. The padding is returned at once.
func (s *Stream) countReceived(n, padding int) bool {
	s.flowMutex.Lock()
	s.recvWindow -= n
	s.toReturn += padding
	fits, more := s.recvWindow >= 0, s.windowIncrement()
	s.flowMutex.Unlock()
	s.queueWindowUpdate(more)
	return fits
}

// discard counts n bytes as taken, because the handler of a finished stream takes none.
func (s *Stream) discard(n int) {
	s.flowMutex.Lock()
	s.toReturn += n
	more := s.windowIncrement()
	s.flowMutex.Unlock()
	s.queueWindowUpdate(more)
}

// queueWindowUpdate lets the server send n bytes more. It only appends the frame;
// beforeRead writes it.
func (s *Stream) queueWindowUpdate(n int) {
	if n == 0 || s.removed.Load() {
		return
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.out = appendWindowUpdate(c.out, s.id, n)
	}
}

// splitMessages delivers each message whose end is in p.
func (s *Stream) splitMessages(p []byte) error {
	m := &s.message
	for len(p) > 0 && !s.removed.Load() && !s.finished {
		if m.prefixLen < prefixBytes {
			n := copy(m.prefix[m.prefixLen:], p)
			m.prefixLen += n
			p = p[n:]
			if m.prefixLen < prefixBytes {
				break
			}
			if err := m.parsePrefix(s.maxMessageBytes()); err != nil {
				return err
			}
			s.gotMessage = true
		}
		missing := m.length - len(m.pieces)
		if len(p) < missing {
			m.pieces = append(s.conn.pieceBuffer(m.pieces), p...)
			s.setHeld(cap(m.pieces))
			break
		}
		whole, pieces := p[:missing], m.pieces
		if pieces != nil {
			pieces = append(pieces, whole...)
			whole = pieces
		}
		p = p[missing:]
		m.prefixLen, m.pieces = 0, nil
		s.messageComplete()
		s.deliver(whole)
		s.setHeld(0)
		s.conn.recycle(pieces)
	}
	s.countPieces()
	return nil
}

// maxMessageBytes returns how long the next message may be.
func (s *Stream) maxMessageBytes() int {
	if !s.gotMessage && s.conn.cfg.MaxFirst > 0 {
		return s.conn.cfg.MaxFirst
	}
	return s.conn.cfg.MaxMessage
}

// setHeld sets how many bytes are held for the pieces of a message, and reports the
// change.
func (s *Stream) setHeld(n int) {
	m := &s.message
	if by := n - m.heldBytes; by != 0 && s.bufferCounter != nil {
		s.bufferCounter.AddBuffered(by)
	}
	m.heldBytes = n
}

// parsePrefix parses prefix.
func (m *message) parsePrefix(limit int) error {
	length := binary.BigEndian.Uint32(m.prefix[1:])
	switch {
	case m.prefix[0] != 0:
		return failed(codes.Internal, nil, "grpc: the server has compressed a message, which nobody has asked it to")
	case uint64(length) > uint64(limit):
		return failed(codes.ResourceExhausted, nil, "grpc: received message larger than max (%d vs. %d)", length, limit)
	}
	m.length = int(length)
	return nil
}

// deliver hands a message to the handler.
func (s *Stream) deliver(p []byte) {
	s.handler.Message(p)
	if !s.inArrivals {
		s.inArrivals = true
		s.conn.arrivals = append(s.conn.arrivals, s)
	}
}

// countPieces counts the bytes of a message of which not all has arrived. If the
// handler waits for the message, the server may send more.
func (s *Stream) countPieces() {
	n := s.message.prefixLen + len(s.message.pieces)
	if n == 0 {
		return
	}
	s.message.counted = true
	s.flowMutex.Lock()
	s.pieces = n - s.piecesReturned
	more := s.windowIncrement()
	s.flowMutex.Unlock()
	s.queueWindowUpdate(more)
}

// messageComplete notes that all of the message has arrived. Taken returns its bytes,
// except those that were returned before.
func (s *Stream) messageComplete() {
	if !s.message.counted {
		return
	}
	s.message.counted = false
	s.flowMutex.Lock()
	defer s.flowMutex.Unlock()
	s.returnedAhead += s.piecesReturned
	s.pieces, s.piecesReturned = 0, 0
}

// pieceBuffer returns the buffer for the pieces of a message.
func (c *Conn) pieceBuffer(pieces []byte) []byte {
	if pieces == nil {
		pieces, c.spareBuffer = c.spareBuffer[:0], nil
	}
	return pieces
}

// recycle keeps a buffer for reuse, unless it is large.
func (c *Conn) recycle(pieces []byte) {
	if pieces != nil && cap(pieces) <= 2*maxFrameBytes {
		c.spareBuffer = pieces
	}
}
