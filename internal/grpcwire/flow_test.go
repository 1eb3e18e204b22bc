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

// credit reads WINDOW_UPDATEs of a stream, 0 for the connection, until they come
// to n bytes.
func (p *scriptedPeer) credit(stream uint32, n int) {
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

// noCredit checks that the client gives nothing back that it has not yet: what it
// says before it answers a ping.
func (p *scriptedPeer) noCredit() {
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

// fill sends a message in frames, of which each may be the first that is too much.
func (p *scriptedPeer) fill(stream uint32, message string) {
	p.t.Helper()
	for _, f := range pieces(message, maxFrame) {
		must(p.t, p.WriteData(stream, false, []byte(f)))
	}
}

// TestStreamWindow: a stream's window is given back when its messages were taken,
// and not before.
func TestStreamWindow(t *testing.T) {
	cfg := testConfig()
	p := dialPeer(t, cfg)
	s, h := p.open()
	s.Taken(0, false)
	const n = 8 << 10
	for range cfg.StreamWindow / n {
		must(t, p.WriteData(s.id, false, []byte(framed(text(n-prefix)))))
		waittest.Await(t, h.messages, "a message")
	}
	p.noCredit()
	for range 4 {
		s.Taken(n, false)
	}
	p.credit(s.id, 4*n) // the server waits for it
	for range cfg.StreamWindow/n - 4 {
		s.Taken(n, false)
	}
	// In small steps up to a quarter, and then half of it.
	p.credit(s.id, cfg.StreamWindow/4-2*n+cfg.StreamWindow/2)

	for range 4 { // taken at once
		must(t, p.WriteData(s.id, false, []byte(framed(text(n-prefix)))))
		waittest.Await(t, h.messages, "a message")
		s.Taken(n, true)
	}
	p.noCredit()
	p.lives()
}

// TestBeyondTheStreamWindow: who sends more loses the stream, and no other.
func TestBeyondTheStreamWindow(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.open()
	p.fill(s.id, strings.Repeat(framed(text(1000)), 300))
	h.wantEnd(t, "beyond the stream's window")
	p.wantReset(s.id, http2.ErrCodeFlowControl)
	p.lives()
}

// TestLongMessage: a message that is longer than the window is let in when
// somebody waits for it, and not before.
func TestLongMessage(t *testing.T) {
	cfg := testConfig()
	p := dialPeer(t, cfg)
	s, h := p.open()
	s.Taken(0, false) // nobody waits
	const first = 10_000
	message := framed(text(first)) + framed(text(1<<20))
	p.fill(s.id, message[:cfg.StreamWindow])
	waittest.Await(t, h.messages, "the first message")
	p.noCredit()
	s.Taken(Cost(first), false)
	s.Await()
	rest := message[cfg.StreamWindow:]
	for sent := 0; sent < len(rest); {
		f := p.want("WINDOW_UPDATE", func(f http2.Frame) bool {
			w, ok := f.(*http2.WindowUpdateFrame)
			return ok && w.StreamID == s.id
		}).(*http2.WindowUpdateFrame)
		n := min(int(f.Increment), len(rest)-sent)
		p.fill(s.id, rest[sent:sent+n])
		sent += n
	}
	if got := waittest.Await(t, h.messages, "the long message"); got != text(1<<20) {
		t.Errorf("got %d bytes, or others than were sent", len(got))
	}
	// What is given back now is what was not yet.
	s.Taken(Cost(1<<20), true)
	s.flow.Lock()
	defer s.flow.Unlock()
	if s.window+s.taken != cfg.StreamWindow || s.prepaid != 0 || s.ahead != 0 {
		t.Errorf("a window of %d bytes, %d to be given back, %d and %d given back ahead; want %d in all", s.window, s.taken, s.prepaid, s.ahead, cfg.StreamWindow)
	}
}

// TestConnectionWindow: it is given back when bytes arrive, taken or not.
func TestConnectionWindow(t *testing.T) {
	cfg := testConfig()
	cfg.ConnectionWindow = 128 << 10
	p := dialPeer(t, cfg)
	s, _ := p.open()
	s.Taken(0, false)
	for range 6 {
		p.fill(s.id, framed(text(32<<10-prefix)))
		p.credit(0, 32<<10)
	}
	p.noCredit()
}

// TestSendWaits: a Send waits for the stream's window, and for the connection's,
// and holds up no other stream meanwhile.
func TestSendWaits(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})
	s, _ := p.open() // which takes 10
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
	must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})) // less than nothing is left
	must(t, p.WriteWindowUpdate(s.id, 10))
	p.noCredit() // nor DATA
	must(t, p.WriteWindowUpdate(s.id, 4))
	want(4)
	must(t, p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}))
	want(20)
	must(t, waittest.Await(t, sent, "the end of Send"))

	// The connection has 64 KiB less what was sent.
	left := initialWindow - 10 - 35
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
	p.noCredit()
	must(t, p.WriteWindowUpdate(0, 1<<20))
	must(t, waittest.Await(t, sent, "the end of Send"))
}

// TestSharedRoomIsShared: where many streams wait for the connection's window, each
// gets some of it.
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
	total, given := 0, initialWindow-streams*10
	for total < streams*(size+prefix) {
		if total == given {
			if given < initialWindow {
				p.awaitQueue(streams) // whoever has not begun to send can get nothing
			}
			must(t, p.WriteWindowUpdate(0, step))
			given += step
		}
		f := p.want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
		total += len(f.Data())
		got[f.StreamID] += len(f.Data())
		for id, n := range got {
			if total == given && total > given/2 && total > streams*(size+prefix)*3/4 && n < size/8 {
				t.Errorf("stream %d has got %d of %d bytes, when all have got %d", id, n, size, total)
			}
		}
	}
	sending.Wait()
	for id, n := range got {
		if n != size+prefix {
			t.Errorf("stream %d has sent %d bytes, want %d", id, n, size+prefix)
		}
	}
}

// awaitQueue waits until n streams wait for what all share.
func (p *scriptedPeer) awaitQueue(n int) {
	p.t.Helper()
	for began := time.Now(); ; runtime.Gosched() {
		p.c.mu.Lock()
		waiting := len(p.c.waiting)
		p.c.mu.Unlock()
		if waiting == n {
			return
		}
		if time.Since(began) > hang {
			p.t.Fatalf("%d streams wait, want %d", waiting, n)
		}
	}
}

// TestWaitingSendEnds: a Send that waits ends with its stream, and with the
// connection.
func TestWaitingSendEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(*scriptedPeer, *Stream)
	}{
		{"Cancel", func(_ *scriptedPeer, s *Stream) { s.Cancel() }},
		{"RST_STREAM", func(p *scriptedPeer, s *Stream) { must(p.t, p.WriteRSTStream(s.id, http2.ErrCodeCancel)) }},
		{"trailers", func(p *scriptedPeer, s *Stream) { p.headers(s.id, true, "grpc-status", "0") }},
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
				for seen := 0; seen < min(2*int(window), initialWindow)-2*10; {
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

// TestServerThatDoesNotRead: nobody hangs in a write to a server that takes nothing
// any more. Sends wait, and end with their streams; what the server says is heard.
func TestServerThatDoesNotRead(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	must(t, p.WriteWindowUpdate(0, 1<<31-1-initialWindow))
	sent := make(chan error, 100)
	var streams []*Stream
	var ears []*told
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
		full = p.c.left && len(p.c.out) >= room && len(p.c.waiting) > 0
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
	if n := len(p.c.out); n > room+maxFrame+1000 {
		t.Errorf("%d bytes wait to be written, and there is room for %d", n, room)
	}
}
