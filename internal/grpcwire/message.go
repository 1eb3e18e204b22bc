// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"encoding/binary"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
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

// Data implements http2wire.Handler.
func (e *events) Data(p []byte, padding int, end bool) {
	s := (*Stream)(e)
	s.countReceived(padding)
	if !s.body.count(len(p)) {
		s.wire.Violation(http2.ErrCodeProtocol, "DATA beyond its content-length")
		return
	}
	if s.finished {
		s.discard(len(p))
	} else if err := s.splitMessages(p); err != nil {
		s.wire.Abort(http2.ErrCodeCancel, err)
		return
	}
	if end {
		s.wire.EndInOrder(failed(codes.Internal, nil, "server closed the stream without sending trailers"))
	}
}

// Arrived implements http2wire.Handler.
func (e *events) Arrived() { e.handler.Arrived() }

// End implements http2wire.Handler.
func (e *events) End(err error) { e.handler.End(withStatus(err)) }

// countReceived returns padding to the window at once. The window may have to be
// returned now, because the server may be waiting for it.
func (s *Stream) countReceived(padding int) {
	s.flowMutex.Lock()
	s.toReturn += padding
	more := s.windowIncrement()
	s.flowMutex.Unlock()
	s.wire.AnnounceLater(more)
}

// discard counts n bytes as taken, because the handler of a finished stream takes none.
func (s *Stream) discard(n int) {
	s.flowMutex.Lock()
	s.toReturn += n
	more := s.windowIncrement()
	s.flowMutex.Unlock()
	s.wire.AnnounceLater(more)
}

// splitMessages delivers each message whose end is in p.
func (s *Stream) splitMessages(p []byte) error {
	m := &s.message
	for len(p) > 0 && !s.wire.Over() && !s.finished {
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
	s.wire.NoteArrival()
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
	s.wire.AnnounceLater(more)
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
	if pieces != nil && cap(pieces) <= 2*http2wire.MaxFrame {
		c.spareBuffer = pieces
	}
}
