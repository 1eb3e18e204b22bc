// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/inbox"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

var (
	_ tunnel.Carrier   = (*Stream)(nil)
	_ tunnel.Breakable = (*Stream)(nil)
)

// Stream is a connection to a target. It is a tunnel.Carrier with all traits.
//
// The goroutine that reads the connection deals with what arrives (events.go). A stream on
// which nothing happens has no goroutine.
type Stream struct {
	wire http2wire.Stream
	conn *Conn

	mu         sync.Mutex // guards the fields below
	changed    sync.Cond
	answered   chan error // gets the end of the dial; nil if no goroutine waits for it
	connected  bool       // the proxy has answered that the target has accepted
	targetFIN  bool       // the target has ended its direction
	toldFIN    bool       // Receive has returned that
	ourFIN     bool       // CloseWrite was called
	closed     bool       // Close or Abort was called
	wasReset   bool       // the target has reset the connection
	targetGone bool       // the target has ended its direction, and reads no more
	verdict    error      // why the stream has ended, other than by both ends in order

	inbox     inbox.Inbox
	current   *inbox.Segment // what Receive has returned last
	receiving bool           // a Receive waits

	window        int           // bytes that may be open or held
	measured      int           // bytes taken since measuredSince
	measuredSince time.Duration // since Conn.began
	onTrial       bool          // the window was doubled for what is measured now
	rate          float64       // bytes a second, before that
	pause         int           // measurements until the next trial
}

// Traits implements tunnel.Carrier.
func (*Stream) Traits() tunnel.Traits {
	return tunnel.Traits{Backpressure: true, HalfClose: true, Resets: true}
}

// Server implements tunnel.Conn.
func (s *Stream) Server() string { return s.conn.cfg.Server }

// Held returns how many bytes wait to be received, and whether the stream has ended.
func (s *Stream) Held() (bytes int, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inbox.Bytes(), s.closed || s.verdict != nil
}

// Broken implements tunnel.Breakable. A target that has ended its direction, and then said
// that it reads no more, has broken nothing: what it sent before must still arrive.
func (s *Stream) Broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.verdict != nil && !s.targetGone
}

// Receive implements tunnel.Conn. The window of what it returns is opened again by the
// next call.
func (s *Stream) Receive() ([]byte, error) {
	s.conn.adapt()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open(s.returnCurrent())
	for s.inbox.Empty() {
		switch {
		case s.closed:
			return nil, tunnel.ErrClosed
		case s.wasReset:
			// The target's end before it, if there was one, is not told. Some proxies send
			// END_STREAM and then the reset, and an app would take that for a clean end.
			return nil, s.verdict
		case s.targetFIN && (!s.toldFIN || s.targetGone || s.ourFIN && s.verdict == nil):
			s.toldFIN = true
			return nil, io.EOF
		case s.verdict != nil:
			return nil, s.verdict
		}
		s.receiving = true
		s.changed.Wait()
		s.receiving = false
		s.open(0) // for padding, or for a window that became narrow
	}
	s.current = s.inbox.Take()
	return s.current.Data, nil
}

// returnCurrent gives back the memory of what Receive has returned last, and returns its
// length. The caller holds mu.
func (s *Stream) returnCurrent() int {
	if s.current == nil {
		return 0
	}
	n := len(s.current.Data)
	s.inbox.GiveBack(&s.conn.pool, s.current)
	s.current = nil
	return n
}

// open opens the window after n bytes were taken. The caller holds mu, which open releases
// meanwhile, because the goroutine that reads must not wait for a write.
func (s *Stream) open(n int) {
	if due := s.taken(n); due > 0 {
		s.mu.Unlock()
		s.wire.Announce(due)
		s.mu.Lock()
	}
}

// Send implements tunnel.Conn.
func (s *Stream) Send(p []byte) error {
	if s.wire.Send(&http2wire.Payload{p}, false) != nil {
		return s.cause()
	}
	return nil
}

// trySend sends p if that needs no waiting, and reports whether it did.
func (s *Stream) trySend(p []byte) bool {
	sent, err := s.wire.TrySend(&http2wire.Payload{p})
	return sent && err == nil
}

// CloseWrite implements tunnel.Carrier.
func (s *Stream) CloseWrite() error {
	if s.wire.CloseSend() {
		s.conn.wire.Flush()
	} else if err := s.cause(); !s.reachesNobody() {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ourFIN = true
	s.changed.Broadcast()
	return nil
}

// cause returns why nothing can be sent any more.
func (s *Stream) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.verdict == nil && !s.closed && !s.ourFIN {
		s.changed.Wait() // the goroutine that reads is about to tell
	}
	if s.verdict != nil && !s.closed {
		return s.verdict
	}
	return tunnel.ErrClosed
}

// reachesNobody reports whether CloseWrite has nothing to tell: it was called before, or
// the target is gone.
func (s *Stream) reachesNobody() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ourFIN || s.targetGone
}

// Close implements tunnel.Conn.
func (s *Stream) Close() error { return s.end(http2.ErrCodeCancel) }

// Abort implements tunnel.Carrier.
func (s *Stream) Abort() error { return s.end(http2.ErrCodeConnect) }

// end closes both directions. If they have not both ended, it resets the stream with code.
func (s *Stream) end(code http2.ErrCode) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.inbox.Drop(&s.conn.pool)
	if s.current != nil {
		// A receiver may still read it, so its memory is not used again.
		s.inbox.Leave(s.current)
		s.current = nil
	}
	s.resize(initialWindow)
	s.changed.Broadcast()
	s.mu.Unlock()
	s.wire.Reset(code)
	return nil
}
