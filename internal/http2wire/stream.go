// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// Stream is one stream of a Conn. A framing embeds it in its own stream. Conn.Open makes
// it usable. Only one goroutine at a time may call Send or TrySend. The other methods
// may be called concurrently, unless they say otherwise.
type Stream struct {
	conn    *Conn
	handler Handler
	id      uint32
	removed atomic.Bool // it is not in Conn.streams any more

	// Used only by Run:
	answered    bool // the headers of the answer have arrived
	serverEnded bool // the server has sent END_STREAM
	inArrivals  bool // it is in Conn.arrivals

	recvWindow atomic.Int64 // bytes that the server may still send

	// Guarded by conn.mu:
	sendWindow   int // bytes that may be sent on the stream
	ended        bool
	closed       bool // END_STREAM was sent
	serverClosed bool // the server has sent END_STREAM
	unsentRest   bool // only a part of a Payload was sent
	queued       bool // it is in conn.waitQueue
	changed      sync.Cond
}

// ID returns the stream's number.
func (s *Stream) ID() uint32 { return s.id }

// Reset resets the stream with code. Afterwards no method of its handler is called; a
// call that has begun still runs. It does nothing if the stream is over.
func (s *Stream) Reset(code http2.ErrCode) {
	c := s.conn
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset(s, code)
	c.flush()
}

// CloseSend ends our direction. It appends END_STREAM behind everything that was sent;
// the next flush writes it. If the server has ended its direction, the stream is over.
//
// CloseSend returns false and does nothing if only a part of a Payload was sent, or if
// the stream or the connection has ended.
func (s *Stream) CloseSend() bool {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended || s.unsentRest || c.err != nil {
		return false
	}
	if !s.closed {
		s.closed = true
		s.changed.Broadcast()
		c.out = appendFrame(c.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
	}
	if s.serverClosed && c.remove(s) {
		s.ended = true
	}
	return true
}

// Flush writes what was appended on all streams, as far as the socket accepts it.
func (c *Conn) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.flush()
}

// EndInOrder ends the stream after the server has ended its direction. If our side is
// still open, a reset without an error closes it. Handler.End gets err. Only the
// handler's methods may call it.
func (s *Stream) EndInOrder(err error) {
	c := s.conn
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	if s.closed {
		s.ended = true
	} else {
		c.reset(s, http2.ErrCodeNo)
	}
	c.mu.Unlock()
	s.handler.End(err)
}

// Abort resets the stream with code, because the server has sent what must not be.
// Handler.End gets err. Only the handler's methods may call it.
func (s *Stream) Abort(code http2.ErrCode, err error) {
	c := s.conn
	if !c.remove(s) {
		return
	}
	c.mu.Lock()
	c.reset(s, code)
	c.mu.Unlock()
	s.handler.End(err)
}

// Violation is Abort for a violation of HTTP/2. why begins with what was received.
func (s *Stream) Violation(code http2.ErrCode, why string) {
	s.conn.violation(s, http2.StreamError{StreamID: s.id, Code: code, Cause: errors.New(why)})
}

func (c *Conn) violation(s *Stream, err http2.StreamError) {
	s.Abort(err.Code, failed(Ended, err, "%v", err))
}

// Over reports whether the stream has ended.
func (s *Stream) Over() bool { return s.removed.Load() }

// NoteArrival makes Run call Handler.Arrived before it waits. Only the handler's methods
// may call it.
func (s *Stream) NoteArrival() {
	if !s.inArrivals {
		s.inArrivals = true
		s.conn.arrivals = append(s.conn.arrivals, s)
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

// Window returns how many bytes the server may still send on the stream.
func (s *Stream) Window() int { return int(s.recvWindow.Load()) }

// Widen counts n bytes more that the server may send. The caller then calls Announce.
func (s *Stream) Widen(n int) { s.recvWindow.Add(int64(n)) }

// Announce tells the server of n bytes that Widen has counted.
func (s *Stream) Announce(n int) { s.announce(n, true) }

// AnnounceLater is Announce for the handler's methods: the frame is written before Run
// waits.
func (s *Stream) AnnounceLater(n int) { s.announce(n, false) }

func (s *Stream) announce(n int, flush bool) {
	if n == 0 || s.removed.Load() {
		return
	}
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !s.ended {
		c.out = appendWindowUpdate(c.out, s.id, n)
		if flush {
			c.flush()
		}
	}
}
