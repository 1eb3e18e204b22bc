// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// sendMessage sends a message in frames. Any of them may exceed the window.
func (p *scriptedPeer) sendMessage(stream uint32, message string) {
	p.t.Helper()
	for _, f := range pieces(message, maxFrameBytes) {
		must(p.t, p.WriteData(stream, false, []byte(f)))
	}
}

// TestStreamWindow: a stream's window is returned when its messages were taken, and not
// before.
func TestStreamWindow(t *testing.T) {
	cfg := testConfig()
	p := dialPeer(t, cfg)
	s, h := p.open()
	s.Taken(0, false)
	const n = 8 << 10
	for range cfg.StreamWindow / n {
		must(t, p.WriteData(s.wire.ID(), false, []byte(framed(text(n-prefixBytes)))))
		waittest.Await(t, h.messages, "a message")
	}
	p.WantNoWindowUpdate()
	for range 4 {
		s.Taken(n, false)
	}
	p.WantWindowUpdates(s.wire.ID(), 4*n) // the server waits for it
	for range cfg.StreamWindow/n - 4 {
		s.Taken(n, false)
	}
	// In small steps up to a quarter, then in halves.
	p.WantWindowUpdates(s.wire.ID(), cfg.StreamWindow/4-2*n+cfg.StreamWindow/2)

	for range 4 { // taken at once
		must(t, p.WriteData(s.wire.ID(), false, []byte(framed(text(n-prefixBytes)))))
		waittest.Await(t, h.messages, "a message")
		s.Taken(n, true)
	}
	p.WantNoWindowUpdate()
	p.wantAlive()
}

// TestBeyondTheStreamWindow: a server that sends more than a stream's window loses that
// stream, and no other.
func TestBeyondTheStreamWindow(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.open()
	p.sendMessage(s.wire.ID(), strings.Repeat(framed(text(1000)), 300))
	h.wantEnd(t, "beyond the stream's window")
	p.WantReset(s.wire.ID(), http2.ErrCodeFlowControl)
	p.wantAlive()
}

// TestLongMessage: a message that is longer than the window arrives when the handler
// waits for it, and not before.
func TestLongMessage(t *testing.T) {
	cfg := testConfig()
	p := dialPeer(t, cfg)
	s, h := p.open()
	s.Taken(0, false) // the handler does not wait
	const first = 10_000
	message := framed(text(first)) + framed(text(1<<20))
	p.sendMessage(s.wire.ID(), message[:cfg.StreamWindow])
	waittest.Await(t, h.messages, "the first message")
	p.WantNoWindowUpdate()
	s.Taken(Cost(first), false)
	s.Await()
	rest := message[cfg.StreamWindow:]
	for sent := 0; sent < len(rest); {
		f := p.Want("WINDOW_UPDATE", func(f http2.Frame) bool {
			w, ok := f.(*http2.WindowUpdateFrame)
			return ok && w.StreamID == s.wire.ID()
		}).(*http2.WindowUpdateFrame)
		n := min(int(f.Increment), len(rest)-sent)
		p.sendMessage(s.wire.ID(), rest[sent:sent+n])
		sent += n
	}
	if got := waittest.Await(t, h.messages, "the long message"); got != text(1<<20) {
		t.Errorf("got %d bytes, or others than were sent", len(got))
	}
	// The window now gets only what was not returned before.
	s.Taken(Cost(1<<20), true)
	s.flowMutex.Lock()
	defer s.flowMutex.Unlock()
	if s.wire.Window()+s.toReturn != cfg.StreamWindow || s.returnedAhead != 0 || s.piecesReturned != 0 {
		t.Errorf("a window of %d bytes, %d to be given back, %d and %d given back ahead; want %d in all", s.wire.Window(), s.toReturn, s.returnedAhead, s.piecesReturned, cfg.StreamWindow)
	}
}

// TestConnectionWindow: the connection's window is returned when bytes arrive, taken or
// not.
func TestConnectionWindow(t *testing.T) {
	cfg := testConfig()
	cfg.ConnectionWindow = 128 << 10
	p := dialPeer(t, cfg)
	s, _ := p.open()
	s.Taken(0, false)
	for range 6 {
		p.sendMessage(s.wire.ID(), framed(text(32<<10-prefixBytes)))
		p.WantWindowUpdates(0, 32<<10)
	}
	p.WantNoWindowUpdate()
}

// TestSendWaits: a Send waits for the stream's window and the connection's window.
// Other streams can send meanwhile.
func TestSendWaits(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})
	s, _ := p.open() // uses 10 bytes of the window
	sent := make(chan error, 1)
	go func() { sent <- s.Send([]byte(text(20)), []byte(text(10)), false) }()
	want := func(n int) {
		t.Helper()
		f := p.Want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
		if len(f.Data()) != n {
			t.Errorf("a frame of %d bytes, want %d", len(f.Data()), n)
		}
	}
	want(10)
	must(t, p.WriteWindowUpdate(s.wire.ID(), 1))
	want(1)
	must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})) // the window becomes negative
	must(t, p.WriteWindowUpdate(s.wire.ID(), 10))
	p.WantNoWindowUpdate() // and no DATA
	must(t, p.WriteWindowUpdate(s.wire.ID(), 4))
	want(4)
	must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	want(20)
	must(t, waittest.Await(t, sent, "the end of Send"))

	// The connection has 64 KiB less what was sent.
	left := initialWindowBytes - 10 - 35
	a, _ := p.open()
	left -= 10
	go func() { sent <- a.Send(make([]byte, 100_000), nil, false) }()
	for got := 0; got < left; {
		f := p.Want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
		if got += len(f.Data()); got > left {
			t.Fatalf("%d bytes, and the window has %d", got, left)
		}
	}
	if done, err := s.TrySend([]byte("x")); done {
		t.Errorf("TrySend without a window: %v", err)
	}
	p.WantNoWindowUpdate()
	must(t, p.WriteWindowUpdate(0, 1<<20))
	must(t, waittest.Await(t, sent, "the end of Send"))
}

// TestWaitingSendEnds: a Send that waits returns when its stream or the connection
// ends.
func TestWaitingSendEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*scriptedPeer, *Stream)
	}{
		{"Cancel", func(_ *scriptedPeer, s *Stream) { s.Cancel() }},
		{"RST_STREAM", func(p *scriptedPeer, s *Stream) { must(p.t, p.WriteRSTStream(s.wire.ID(), http2.ErrCodeCancel)) }},
		{"trailers", func(p *scriptedPeer, s *Stream) { p.SendHeaders(s.wire.ID(), true, "grpc-status", "0") }},
		{"the connection's end", func(p *scriptedPeer, _ *Stream) { _ = p.Conn.Close() }},
		{"Close", func(p *scriptedPeer, _ *Stream) { _ = p.c.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, window := range []uint32{100, 1 << 20} { // of the stream; the connection has less
				p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: window})
				s, _ := p.open()
				other, _ := p.open()
				sent := make(chan error, 2)
				for _, s := range []*Stream{s, other} {
					go func() { sent <- s.Send(make([]byte, 500_000), nil, false) }()
				}
				for seen := 0; seen < min(2*int(window), initialWindowBytes)-2*10; {
					f := p.Want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
					seen += len(f.Data())
				}
				tc.end(p, s)
				if err := waittest.Await(t, sent, "the end of Send"); err != io.EOF {
					t.Errorf("Send ended with %v, want io.EOF", err)
				}
				other.Cancel()
				if err := waittest.Await(t, sent, "the end of the other Send"); err != io.EOF {
					t.Errorf("the other Send ended with %v, want io.EOF", err)
				}
			}
		})
	}
}
