// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/inbox"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// events is a Stream as the http2wire.Handler of its HTTP/2 stream.
type events Stream

// Headers implements http2wire.Handler.
func (e *events) Headers(f *http2.MetaHeadersFrame, trailers bool) {
	s := (*Stream)(e)
	refusal := (*Refusal)(nil)
	if !trailers {
		refusal = refusalOf(f)
	}
	s.mu.Lock()
	switch {
	case refusal != nil:
		s.answer(refusal)
	case !trailers:
		s.connected = true
		s.answer(nil)
	}
	if f.StreamEnded() {
		s.targetEnded()
	}
	s.mu.Unlock()
	if refusal != nil && s.wire.CloseSend() && !s.wire.Over() {
		s.conn.refusals.add(s)
	}
}

// Data implements http2wire.Handler.
func (e *events) Data(p []byte, _ int, end bool) {
	s := (*Stream)(e)
	defer s.conn.adapt() // when s.mu is unlocked
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.connected || s.closed: // the body of a refusal, or behind a Close: dropped
	case len(p) > 0:
		s.inbox.Put(&s.conn.pool, p, 0)
	}
	switch {
	case end:
		s.targetEnded()
	case s.receiving && s.inbox.Bytes() >= inbox.Large:
		s.changed.Broadcast() // there is enough for one Receive
	case s.receiving:
		s.wire.NoteArrival() // also for padding, whose window Receive returns
	}
}

// Arrived implements http2wire.Handler.
func (e *events) Arrived() {
	s := (*Stream)(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.receiving {
		s.changed.Broadcast()
	}
}

// End implements http2wire.Handler.
func (e *events) End(err error) {
	s := (*Stream)(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verdict = s.judge(err)
	if reset, ok := errors.AsType[http2wire.PeerReset](err); ok {
		s.targetGone = s.targetFIN && reset.Code == http2.ErrCodeNo
		s.wasReset = s.connected && reset.Code == http2.ErrCodeConnect
	}
	s.resize(initialWindow)
	s.changed.Broadcast()
	s.answer(s.verdict)
}

// answer ends the wait of Dial. The caller holds mu.
func (s *Stream) answer(err error) {
	if s.answered != nil {
		s.answered <- err
		s.answered = nil
	}
}

// targetEnded notes that the target has ended its direction. Arrived tells the receiver,
// because a reset may have come together with the end. The caller holds mu.
func (s *Stream) targetEnded() {
	s.targetFIN = true
	s.resize(initialWindow)
	s.wire.NoteArrival()
}

// judge returns the error of a stream that ended with err. The caller holds mu.
func (s *Stream) judge(err error) error {
	reset, isReset := errors.AsType[http2wire.PeerReset](err)
	wire, _ := errors.AsType[*http2wire.Error](err)
	switch {
	case isReset && !s.connected:
		return &Reset{reset}
	case isReset && (reset.Code == http2.ErrCodeConnect || s.targetFIN && reset.Code == http2.ErrCodeNo):
		// Behind the target's end a reset without an error says that the target reads no
		// more. TCP says so with a reset, once it gets further bytes.
		return fmt.Errorf("%w: %w", tunnel.ErrReset, err)
	case isReset && reset.Code == http2.ErrCodeCancel:
		return fmt.Errorf("%w: the proxy ended this one and not its target: its log says why: %w", tunnel.ErrBroken, err)
	case !isReset && wire != nil && wire.Kind == http2wire.Ended:
		return fmt.Errorf("%w: %w", tunnel.ErrProtocol, err)
	case errors.Is(err, io.EOF):
		// The connection has ended, and not the target: the error must not wrap io.EOF.
		return fmt.Errorf("%w: %v", tunnel.ErrBroken, err)
	default:
		return fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
	}
}
