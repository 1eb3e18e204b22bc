// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

// prefix is how many bytes stand before a message: whether it is compressed, and
// its length.
const prefix = 5

// Cost is how many bytes of a stream's window a message of n bytes takes.
func Cost(n int) int { return prefix + n }

// Stream is one call. Send and TrySend must be called by one goroutine at a time,
// the other methods from anywhere.
type Stream struct {
	conn    *Conn
	handler Handler
	holder  Holder // is handler, or nil
	id      uint32
	over    atomic.Bool // it is not in Conn.streams any more

	// Of Run alone:
	answered bool // the headers of the answer are here
	finished bool // Finish was called
	body     body
	isFresh  bool // it is in Conn.fresh
	begun    bool // a message has been here
	message  message

	flow    sync.Mutex
	window  int  // bytes that the server may send
	taken   int  // bytes to give back
	pieces  int  // bytes here of a message of which not all is,
	ahead   int  // and those of them that were given back,
	prepaid int  // and those of whole messages that were, ahead of Taken
	eager   bool // somebody waits for the next message

	// Under conn.mu:
	allowed int // bytes that may be sent on the stream
	ended   bool
	closed  bool // END_STREAM was sent
	midway  bool // of a message a part was sent, and not yet the rest
	queued  bool // in conn.waiting
	changed sync.Cond
}

// Cancel ends the stream. Its handler hears nothing more, but for a call that is
// under way.
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

// Finish ends the stream in order: the server gets END_STREAM behind what was sent,
// and is to end the stream. Until it has done that, the stream counts as open, and
// its messages are dropped. Handler.End follows, unless Cancel comes first.
//
// Finish returns false, and does nothing, where only a part of a message was sent,
// or where the connection has ended. It must be called from Handler.Message.
func (s *Stream) Finish() bool {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.ended || s.midway || c.err != nil {
		return false
	}
	s.finished = true
	s.closeSend()
	return true
}

// closeSend sends END_STREAM; wake, or the next flush, writes it. The caller holds
// Conn.mu.
func (s *Stream) closeSend() {
	if !s.closed {
		s.closed = true
		s.changed.Broadcast()
		s.conn.out = appendFrame(s.conn.out, 0, http2.FrameData, http2.FlagDataEndStream, s.id)
	}
}

// reset says that s has ended, which is not in the table any more. The caller
// holds mu.
func (c *Conn) reset(s *Stream, code http2.ErrCode) {
	s.ended = true
	s.changed.Broadcast()
	if c.err == nil {
		c.out = appendReset(c.out, s.id, code)
	}
}

// Await says that somebody waits for the next message, and has taken all others:
// one that is longer than the window is let in.
func (s *Stream) Await() {
	s.flow.Lock()
	s.eager = true
	n := s.due()
	s.flow.Unlock()
	s.giveBack(n)
}

// Taken gives n bytes of the window back. more says that somebody waits for the
// next message.
func (s *Stream) Taken(n int, more bool) {
	s.flow.Lock()
	ahead := min(n, s.prepaid)
	s.prepaid -= ahead
	s.taken += n - ahead
	s.eager = more
	n = s.due()
	s.flow.Unlock()
	s.giveBack(n)
}

// due returns how many bytes should be given back now: half a window, so that it
// costs little, but at once where the server may be waiting for them. It counts
// them as given. The caller holds flow.
func (s *Stream) due() int {
	full := s.conn.cfg.StreamWindow
	pieces := 0
	if s.eager {
		pieces = s.pieces
	}
	n := s.taken + pieces
	if n < full/16 || n < full/2 && s.window > full/4 {
		return 0
	}
	s.taken = 0
	s.pieces -= pieces
	s.ahead += pieces
	s.window += n
	return n
}

// giveBack tells the server of n bytes more.
func (s *Stream) giveBack(n int) {
	if n == 0 || s.over.Load() {
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
