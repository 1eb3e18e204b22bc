// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// wantWindowUpdates reads WINDOW_UPDATEs of a stream, until their sum is n bytes.
// Stream 0 is the connection.
func (p *scriptedPeer) wantWindowUpdates(stream uint32, n int) {
	p.t.Helper()
	for got := 0; got < n; {
		f := p.want("WINDOW_UPDATE", func(f http2.Frame) bool {
			w, ok := f.(*http2.WindowUpdateFrame)
			return ok && w.StreamID == stream
		}).(*http2.WindowUpdateFrame)
		got += int(f.Increment)
		if got > n {
			p.t.Fatalf("the client gives %d bytes back, want %d", got, n)
		}
	}
}

// wantNoWindowUpdate sends a ping, and checks that no WINDOW_UPDATE comes before the
// answer.
func (p *scriptedPeer) wantNoWindowUpdate() {
	p.t.Helper()
	must(p.t, p.WritePing(false, [8]byte{1}))
	p.want("PING ack, and no WINDOW_UPDATE", func(f http2.Frame) bool {
		if w, ok := f.(*http2.WindowUpdateFrame); ok {
			p.t.Errorf("the client gives %d bytes of stream %d back", w.Increment, w.StreamID)
		}
		ping, ok := f.(*http2.PingFrame)
		return ok && ping.IsAck()
	})
}

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
		must(t, p.WriteData(s.id, false, []byte(framed(text(n-prefixBytes)))))
		waittest.Await(t, h.messages, "a message")
	}
	p.wantNoWindowUpdate()
	for range 4 {
		s.Taken(n, false)
	}
	p.wantWindowUpdates(s.id, 4*n) // the server waits for it
	for range cfg.StreamWindow/n - 4 {
		s.Taken(n, false)
	}
	// In small steps up to a quarter, then in halves.
	p.wantWindowUpdates(s.id, cfg.StreamWindow/4-2*n+cfg.StreamWindow/2)

	for range 4 { // taken at once
		must(t, p.WriteData(s.id, false, []byte(framed(text(n-prefixBytes)))))
		waittest.Await(t, h.messages, "a message")
		s.Taken(n, true)
	}
	p.wantNoWindowUpdate()
	p.wantAlive()
}

// TestBeyondTheStreamWindow: a server that sends more than a stream's window loses that
// stream, and no other.
func TestBeyondTheStreamWindow(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.open()
	p.sendMessage(s.id, strings.Repeat(framed(text(1000)), 300))
	h.wantEnd(t, "beyond the stream's window")
	p.wantReset(s.id, http2.ErrCodeFlowControl)
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
	p.sendMessage(s.id, message[:cfg.StreamWindow])
	waittest.Await(t, h.messages, "the first message")
	p.wantNoWindowUpdate()
	s.Taken(Cost(first), false)
	s.Await()
	rest := message[cfg.StreamWindow:]
	for sent := 0; sent < len(rest); {
		f := p.want("WINDOW_UPDATE", func(f http2.Frame) bool {
			w, ok := f.(*http2.WindowUpdateFrame)
			return ok && w.StreamID == s.id
		}).(*http2.WindowUpdateFrame)
		n := min(int(f.Increment), len(rest)-sent)
		p.sendMessage(s.id, rest[sent:sent+n])
		sent += n
	}
	if got := waittest.Await(t, h.messages, "the long message"); got != text(1<<20) {
		t.Errorf("got %d bytes, or others than were sent", len(got))
	}
	// The window now gets only what was not returned before.
	s.Taken(Cost(1<<20), true)
	s.flowMutex.Lock()
	defer s.flowMutex.Unlock()
	if s.recvWindow+s.toReturn != cfg.StreamWindow || s.returnedAhead != 0 || s.piecesReturned != 0 {
		t.Errorf("a window of %d bytes, %d to be given back, %d and %d given back ahead; want %d in all", s.recvWindow, s.toReturn, s.returnedAhead, s.piecesReturned, cfg.StreamWindow)
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
		p.sendMessage(s.id, framed(text(32<<10-prefixBytes)))
		p.wantWindowUpdates(0, 32<<10)
	}
	p.wantNoWindowUpdate()
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
		f := p.want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
		if len(f.Data()) != n {
			t.Errorf("a frame of %d bytes, want %d", len(f.Data()), n)
		}
	}
	want(10)
	must(t, p.WriteWindowUpdate(s.id, 1))
	want(1)
	must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})) // the window becomes negative
	must(t, p.WriteWindowUpdate(s.id, 10))
	p.wantNoWindowUpdate() // and no DATA
	must(t, p.WriteWindowUpdate(s.id, 4))
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
		f := p.want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
		if got += len(f.Data()); got > left {
			t.Fatalf("%d bytes, and the window has %d", got, left)
		}
	}
	if done, err := s.TrySend([]byte("x")); done {
		t.Errorf("TrySend without a window: %v", err)
	}
	p.wantNoWindowUpdate()
	must(t, p.WriteWindowUpdate(0, 1<<20))
	must(t, waittest.Await(t, sent, "the end of Send"))
}

// TestSharedRoomIsShared: if many streams wait for the connection's window, each gets a
// share.
func TestSharedRoomIsShared(t *testing.T) {
	const streams, size, step = 8, 200_000, 40_000
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	var sending sync.WaitGroup
	got := map[uint32]int{}
	var all []*Stream
	for range streams {
		s, _ := p.open()
		all = append(all, s)
		got[s.id] = 0
	}
	for _, s := range all {
		sending.Go(func() {
			if err := s.Send(make([]byte, size), nil, false); err != nil {
				t.Error(err)
			}
		})
	}
	total, given := 0, initialWindowBytes-streams*10
	for total < streams*(size+prefixBytes) {
		if total == given {
			if given < initialWindowBytes {
				p.awaitQueue(streams) // a stream that has not begun to send gets nothing
			}
			must(t, p.WriteWindowUpdate(0, step))
			given += step
		}
		f := p.want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
		total += len(f.Data())
		got[f.StreamID] += len(f.Data())
		for id, n := range got {
			if total == given && total > given/2 && total > streams*(size+prefixBytes)*3/4 && n < size/8 {
				t.Errorf("stream %d has got %d of %d bytes, when all have got %d", id, n, size, total)
			}
		}
	}
	sending.Wait()
	for id, n := range got {
		if n != size+prefixBytes {
			t.Errorf("stream %d has sent %d bytes, want %d", id, n, size+prefixBytes)
		}
	}
}

// awaitQueue waits until n streams are in waitQueue.
func (p *scriptedPeer) awaitQueue(n int) {
	p.t.Helper()
	for began := time.Now(); ; runtime.Gosched() {
		p.c.mu.Lock()
		waiting := len(p.c.waitQueue)
		p.c.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Since(began) > hangTimeout {
			p.t.Fatalf("%d streams wait, want %d", waiting, n)
		}
	}
}

// TestWaitingSendEnds: a Send that waits returns when its stream or the connection
// ends.
func TestWaitingSendEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*scriptedPeer, *Stream)
	}{
		{"Cancel", func(_ *scriptedPeer, s *Stream) { s.Cancel() }},
		{"RST_STREAM", func(p *scriptedPeer, s *Stream) { must(p.t, p.WriteRSTStream(s.id, http2.ErrCodeCancel)) }},
		{"trailers", func(p *scriptedPeer, s *Stream) { p.sendHeaders(s.id, true, "grpc-status", "0") }},
		{"the connection's end", func(p *scriptedPeer, _ *Stream) { _ = p.conn.Close() }},
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
					f := p.want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
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

// TestServerThatDoesNotRead: no caller blocks in a write to a server that reads nothing
// any more. Sends wait, and end with their streams. Frames of the server are still
// processed.
func TestServerThatDoesNotRead(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	must(t, p.WriteWindowUpdate(0, 1<<31-1-initialWindowBytes))
	sent := make(chan error, 100)
	var streams []*Stream
	var ears []*recorder
	for range 10 {
		s, h := p.open()
		streams, ears = append(streams, s), append(ears, h)
	}
	for _, s := range streams {
		go func() {
			for {
				if err := s.Send(make([]byte, 1<<20), nil, false); err != nil {
					sent <- err
					return
				}
			}
		}()
	}
	for full := false; !full; time.Sleep(time.Millisecond) {
		p.c.mu.Lock()
		full = p.c.handedOff && len(p.c.out) >= sendWaitBytes && len(p.c.waitQueue) > 0
		p.c.mu.Unlock()
	}
	must(t, p.WriteData(streams[0].id, false, []byte(framed("x"))))
	waittest.Await(t, ears[0].messages, "a message, while nothing can be written")
	for _, s := range streams {
		s.Cancel()
		if err := waittest.Await(t, sent, "the end of Send"); err != io.EOF {
			t.Errorf("Send ended with %v, want io.EOF", err)
		}
	}
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if n := len(p.c.out); n > sendWaitBytes+maxFrameBytes+1000 {
		t.Errorf("%d bytes wait to be written, and there is room for %d", n, sendWaitBytes)
	}
}
