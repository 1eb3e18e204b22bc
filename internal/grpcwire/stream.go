// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// prefixBytes is the size of the prefix of a message: a compression flag of 1 byte, and
// the length.
const prefixBytes = 5

// Cost returns how many bytes of a stream's window a message of n bytes uses.
func Cost(n int) int { return prefixBytes + n }

// Stream is one call. Only one goroutine at a time may call Send or TrySend. The other
// methods may be called concurrently.
type Stream struct {
	conn          *Conn
	handler       Handler
	bufferCounter BufferCounter // handler, or nil
	id            uint32
	removed       atomic.Bool // it is not in Conn.streams any more

	// Used only by Run:
	answered   bool // the headers of the answer have arrived
	finished   bool // Finish was called
	body       body
	inArrivals bool // it is in Conn.arrivals
	gotMessage bool // a message has begun to arrive
	message    message

	flowMutex      sync.Mutex
	recvWindow     int  // bytes that the server may still send
	toReturn       int  // bytes taken, not yet returned to the server
	pieces         int  // bytes of an incomplete message that have arrived
	piecesReturned int  // bytes of pieces that were already returned
	returnedAhead  int  // bytes of complete messages that were returned before Taken
	awaited        bool // the handler waits for the next message

	// Guarded by conn.mu:
	sendWindow int // bytes that may be sent on the stream
	ended      bool
	closed     bool // END_STREAM was sent
	midMessage bool // only a part of a message was sent
	queued     bool // it is in conn.waitQueue
	changed    sync.Cond
}

// Cancel resets the stream. Afterwards no method of its handler is called; a call that
// has begun still runs.
func (s *Stream) Cancel() {
	c := s.conn
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(s, http2.ErrCodeCancel)
	c.flush()
}

// Finish ends the stream in order. It sends END_STREAM after everything that was sent,
// and the server must then end the stream. Until then the stream counts as open, and
// its messages are dropped. Handler.End follows, unless Cancel comes first.
//
// Finish returns false and does nothing if only a part of a message was sent, or if the
// connection has ended. It must be called from Handler.Message.
func (s *Stream) Finish() bool {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended || s.midMessage || c.err != nil {
		return false
	}
	s.finished = true
	s.closeSend()
	return true
}

// closeSend appends END_STREAM. beforeRead or the next flush writes it. The caller
// holds Conn.mu.
func (s *Stream) closeSend() {
	if !s.closed {
		s.closed = true
		s.changed.Broadcast()
		s.conn.out = appendFrame(s.conn.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
	}
}

// reset ends s, which is no longer in streams, and tells the server. The caller holds
// mu.
func (c *Conn) reset(s *Stream, code http2.ErrCode) {
	s.ended = true
	s.changed.Broadcast()
	if c.err == nil {
		c.out = appendReset(c.out, s.id, code)
	}
}

// Await says that the handler waits for the next message, and has taken all others. A
// message that is longer than the window can then arrive.
func (s *Stream) Await() {
	s.flowMutex.Lock()
	s.awaited = true
	n := s.windowIncrement()
	s.flowMutex.Unlock()
	s.sendWindowUpdate(n)
}

// Taken returns n bytes of the window to the server. more says that the handler waits
// for the next message.
func (s *Stream) Taken(n int, more bool) {
	s.flowMutex.Lock()
	ahead := min(n, s.returnedAhead)
	s.returnedAhead -= ahead
	s.toReturn += n - ahead
	s.awaited = more
	n = s.windowIncrement()
	s.flowMutex.Unlock()
	s.sendWindowUpdate(n)
}

// windowIncrement returns how many bytes to return to the server now, and counts them
// as returned. It returns them in halves of the window, to send few frames. It returns
// them earlier if the server may be waiting for them. The caller holds flowMutex.
func (s *Stream) windowIncrement() int {
	full := s.conn.cfg.StreamWindow
	pieces := 0
	if s.awaited {
		pieces = s.pieces
	}
	n := s.toReturn + pieces
	if n < full/16 || n < full/2 && s.recvWindow > full/4 {
		return 0
	}
	s.toReturn = 0
	s.pieces -= pieces
	s.piecesReturned += pieces
	s.recvWindow += n
	return n
}

// sendWindowUpdate lets the server send n bytes more.
func (s *Stream) sendWindowUpdate(n int) {
	if n == 0 || s.removed.Load() {
		return
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !s.ended {
		c.out = appendWindowUpdate(c.out, s.id, n)
		c.flush()
	}
}
