// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Request is what the header of a stream asks for.
type Request struct {
	Method, Authority string
	// Other is true if the header has one of :scheme, :path or :protocol, which CONNECT
	// does not have (RFC 9113 8.5).
	Other bool
	// TooLarge is true if the header was not read to its end, because it is too large.
	TooLarge bool
}

// Stream is one request of a client, and what is sent and received for it.
type Stream struct {
	// Request does not change.
	Request Request

	conn *Conn
	id   uint32

	// Conn.mu guards what follows.
	err       error // why nothing more can be sent or received
	failed    func(error)
	waits     bool // for room to send
	answered  bool
	sentEnd   bool // END_STREAM was sent
	gotEnd    bool // END_STREAM has arrived
	sendReady sync.Cond
	recvReady sync.Cond

	sendWindow int64 // what may be sent, in bytes
	in         input
}

// newStream returns a stream that the client has begun, or nil if there is no memory for
// it. The caller holds mu.
func (c *Conn) newStream(id uint32, request Request, ended bool) *Stream {
	s := &Stream{Request: request, conn: c, id: id, gotEnd: ended, sendWindow: c.peerWindow}
	s.sendReady.L, s.recvReady.L = &c.mu, &c.mu
	if !s.in.init(!c.settled && !ended, c.cfg.Memory) {
		return nil
	}
	return s
}

// Accept answers that the stream stands (200). It is called once, before Send.
func (s *Stream) Accept() error {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.sendErr(); err != nil {
		return err
	}
	s.answered = true
	c.out.pending = appendAccept(c.out.pending, s.id)
	c.write()
	return nil
}

// Refuse answers with another status and fields, whose names are in lower case, and ends
// the stream.
func (s *Stream) Refuse(status int, fields []hpack.HeaderField) {
	c := s.conn
	c.mu.Lock()
	if s.sendErr() != nil || s.answered {
		c.mu.Unlock()
		return
	}
	s.answered, s.sentEnd = true, true
	c.out.pending = appendRefusal(c.out.pending, s.id, status, fields)
	if !s.gotEnd { // the client need not send the rest (RFC 9113 8.1)
		c.out.pending = appendReset(c.out.pending, s.id, http2.ErrCodeNo)
	}
	s.fail(ErrClosed)
	over := s.remove()
	c.write()
	c.mu.Unlock()
	if over {
		c.finish()
	}
}

// Reset ends both directions of the stream at once, as a TCP reset does. A stream without an
// answer has no connection to its target, so its client is told that it was given up.
func (s *Stream) Reset() { s.reset(http2.ErrCodeConnect) }

// Cancel ends both directions of the stream at once, and says that the cause is not its target.
func (s *Stream) Cancel() { s.reset(http2.ErrCodeCancel) }

func (s *Stream) reset(code http2.ErrCode) {
	c := s.conn
	c.mu.Lock()
	if s.err != nil {
		c.mu.Unlock()
		return
	}
	if !s.answered {
		code = http2.ErrCodeCancel
	}
	s.fail(ErrClosed)
	over := s.remove()
	c.control(appendReset(nil, s.id, code))
	c.mu.Unlock()
	if over {
		c.finish()
	}
}

// Receive returns what the client has sent, which is valid until the next call. That call
// returns the window for it to the client. io.EOF is END_STREAM: everything was returned.
// Any other error means that the rest is lost.
func (s *Stream) Receive() ([]byte, error) {
	c := s.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	s.giveBack()
	for {
		switch {
		case s.err != nil:
			return nil, s.err
		case !s.in.isEmpty():
			return s.in.lend(), nil
		case s.gotEnd:
			return nil, io.EOF
		}
		s.recvReady.Wait()
	}
}

// Ended reports whether END_STREAM was sent and received, and all was returned by Receive.
func (s *Stream) Ended() bool {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	return s.sentEnd && s.gotEnd && s.in.isEmpty()
}

// fail ends the stream for its handler. The caller holds mu.
func (s *Stream) fail(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.in.free(s.conn.cfg.Memory)
	s.sendReady.Broadcast()
	s.recvReady.Broadcast()
	if s.waits {
		s.conn.out.space.Broadcast()
	}
	if s.failed != nil && !errors.Is(err, ErrClosed) {
		s.failed(err)
	}
}

// OnFailure sets what is called once if the client resets the stream, or its connection
// ends: with ErrReset or ErrGone. failed must return at once, and call no method of a
// Stream or Conn. It is called at once if that has happened already.
func (s *Stream) OnFailure(failed func(error)) {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	s.failed = failed
	if s.err != nil && !errors.Is(s.err, ErrClosed) {
		failed(s.err)
	}
}

// removeIfOver removes a stream of which both directions have ended. It reports whether
// the connection has to end. The caller holds mu.
func (s *Stream) removeIfOver() (over bool) {
	return s.sentEnd && s.gotEnd && s.remove()
}

// remove forgets a stream of which nothing more is sent. It reports whether the connection
// has to end. The caller holds mu.
func (s *Stream) remove() (over bool) {
	c := s.conn
	if _, is := c.streams[s.id]; !is {
		return false
	}
	delete(c.streams, s.id)
	return c.away == left && len(c.streams) == 0
}

// serve calls the handler.
func (c *Conn) serve(s *Stream) {
	defer c.serves.Done()
	c.cfg.Serve(s)
	if !s.Ended() {
		s.reset(http2.ErrCodeCancel)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.fail(ErrClosed)
	c.serving--
}
