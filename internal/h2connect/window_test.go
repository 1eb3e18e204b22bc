// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// fill sends n bytes on a stream.
func (p *scriptedPeer) fill(stream uint32, n int) {
	p.t.Helper()
	for ; n > 0; n -= http2MaxFrame {
		must(p.t, p.WriteData(stream, false, make([]byte, min(n, http2MaxFrame))))
	}
}

// wantHeld waits until n bytes wait to be received.
func wantHeld(t *testing.T, s *Stream, n int) {
	t.Helper()
	waittest.Eventually(t, "all bytes to arrive", func() bool {
		got, _ := s.Held()
		return got == n
	})
}

// TestBackpressure: a window is opened when its bytes were received and Receive is called
// again, and not before. Other streams go on.
func TestBackpressure(t *testing.T) {
	p := dialPeer(t, Config{})
	s := p.open()
	id := s.wire.ID()
	p.fill(id, initialWindow)
	wantHeld(t, s, initialWindow)
	p.WantNoWindowUpdate()
	first := waittest.Await(t, receive(s), "the first piece")
	p.WantNoWindowUpdate() // its receiver may still pass it on
	second := waittest.Await(t, receive(s), "the second piece")
	p.WantWindowUpdates(id, len(first.text))
	receive(s)
	p.WantWindowUpdates(id, len(second.text))
	if all := len(first.text) + len(second.text); all != initialWindow {
		t.Errorf("received %d bytes, want %d", all, initialWindow)
	}
	p.wantAlive()
}

// TestPadding: padding uses the window, and is returned while Receive waits.
func TestPadding(t *testing.T) {
	p := dialPeer(t, Config{})
	s := p.open()
	got := receive(s)
	const frame = 1 + 255
	for range initialWindow / 2 / frame {
		must(t, p.WriteDataPadded(s.wire.ID(), false, nil, make([]byte, 255)))
	}
	p.WantWindowUpdates(s.wire.ID(), initialWindow/2)
	must(t, p.WriteData(s.wire.ID(), false, []byte("x")))
	if r := waittest.Await(t, got, "a byte"); r.text != "x" {
		t.Errorf("received %+v", r)
	}
}

// wantSettings reads up to our next SETTINGS frame, checks its window and acknowledges it.
func (p *scriptedPeer) wantSettings(window int) {
	p.t.Helper()
	f := p.Want("SETTINGS", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && !s.IsAck() }).(*http2.SettingsFrame)
	if v, _ := f.Value(http2.SettingInitialWindowSize); int(v) != window {
		p.t.Errorf("a window of %d bytes in SETTINGS, want %d", v, window)
	}
	must(p.t, p.WriteSettingsAck())
}

// TestScarceMemory: while the quota is scarce, the windows of all streams are narrow.
// Streams go on, and nothing is reset. Later the windows are wide again.
func TestScarceMemory(t *testing.T) {
	held := quota.New(8 << 20)
	others := held.Open(nil)
	p := dialPeer(t, Config{Quota: held})
	must(t, p.WriteSettingsAck()) // of the preface
	s, idle := p.open(), p.open()
	id := s.wire.ID()
	waiting := receive(idle)
	others.Take(5 << 20)
	p.fill(id, initialWindow)
	p.wantSettings(narrowWindow)
	waittest.Eventually(t, "the window to be narrow", func() bool { return idle.wire.Window() == narrowWindow })
	p.fill(idle.wire.ID(), narrowWindow) // a stream that is received goes on
	for got := 0; got < narrowWindow; waiting = receive(idle) {
		got += len(waittest.Await(t, waiting, "a piece").text)
	}
	p.WantWindowUpdates(idle.wire.ID(), narrowWindow)
	for got := 0; got < initialWindow; {
		got += len(waittest.Await(t, receive(s), "a piece").text)
	}
	last := receive(s)
	p.WantWindowUpdates(id, initialWindow) // from a negative one up to narrowWindow
	if n := s.wire.Window(); n != narrowWindow {
		t.Errorf("a window of %d bytes, want %d", n, narrowWindow)
	}
	p.WantNoWindowUpdate()
	others.Give(5 << 20)
	p.fill(id, narrowWindow)
	waittest.Await(t, last, "a piece")
	p.wantSettings(initialWindow)
	waittest.Eventually(t, "the window to be wide", func() bool { return idle.wire.Window() == initialWindow })
	p.wantAlive()
}

// TestNarrowWindowWhileReceiving: a stream whose window was used in part, and that waits in
// Receive, is granted some again when windows become narrow.
func TestNarrowWindowWhileReceiving(t *testing.T) {
	held := quota.New(8 << 20)
	p := dialPeer(t, Config{Quota: held})
	must(t, p.WriteSettingsAck())
	s := p.open()
	const used = 100_000 // less than half, so that nothing is granted yet
	p.fill(s.wire.ID(), used)
	for got := 0; got < used; {
		got += len(waittest.Await(t, receive(s), "a piece").text)
	}
	waiting := receive(s)
	waittest.Eventually(t, "the wait", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.receiving
	})
	held.Open(nil).Take(5 << 20)
	p.c.adapt()
	p.wantSettings(narrowWindow)
	p.WantWindowUpdates(s.wire.ID(), used)
	must(t, p.WriteData(s.wire.ID(), false, []byte("x")))
	if r := waittest.Await(t, waiting, "a byte"); r.text != "x" {
		t.Errorf("received %+v", r)
	}
}

// TestHeldIsCounted: the quota counts what waits, and nothing once it was taken or the
// stream was closed.
func TestHeldIsCounted(t *testing.T) {
	held := quota.New(64 << 20)
	p := dialPeer(t, Config{Quota: held})
	taken, closed := p.open(), p.open()
	for _, s := range []*Stream{taken, closed} {
		p.fill(s.wire.ID(), 100_000)
		wantHeld(t, s, 100_000)
	}
	if n := held.Held(); n < 200_000 || n > 200_000+2<<17 {
		t.Errorf("%d bytes are held, want 200,000 and a bit", n)
	}
	waittest.Await(t, receive(taken), "a piece")
	must(t, closed.Close())
	end := receive(taken)
	waittest.Eventually(t, "nothing to be held", func() bool { return held.Held() == 0 })
	must(t, taken.Close())
	waittest.Await(t, end, "the end of Receive")
	if n := held.Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// takeAt lets a stream take n bytes at a rate, in bytes a second, as its caller would.
func (s *Stream) takeAt(rate float64, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.measuredSince == 0 {
		s.measure(0)
	}
	elapsed := time.Since(s.conn.began) - s.measuredSince
	s.conn.began = s.conn.began.Add(elapsed - time.Duration(float64(n)/rate*1e9)) // so much time has passed
	s.measure(n)
}

// TestWindowGrows: the window doubles while that makes a limited path faster, up to its
// bounds, and shrinks when little comes.
func TestWindowGrows(t *testing.T) {
	const trip = 20 * time.Millisecond
	for name, tc := range map[string]struct {
		held  *quota.Quota
		path  float64 // bytes a second
		most  int
		scant bool
	}{
		"without a limit": {nil, 1e12, maxWindow, false},
		"a path of 2 MiB": {nil, 2 << 20 / trip.Seconds(), 2 << 20, false},
		"a short path":    {nil, 1e6, freeWindow, false},
		"a small quota":   {quota.New(4 << 20), 1e12, 512 << 10, false},
		"a scarce quota":  {quota.New(64 << 20), 1e12, initialWindow, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialPeer(t, Config{Quota: tc.held, PingInterval: time.Hour, PingTimeout: time.Hour})
			s := p.open()
			if tc.scant {
				tc.held.Open(nil).Take(33 << 20)
				p.c.adapt()
			}
			for range 20 {
				s.takeAt(min(float64(s.window)/trip.Seconds(), tc.path), trialWindows*s.window)
			}
			if s.window != tc.most {
				t.Errorf("a window of %d bytes, want %d", s.window, tc.most)
			}
			if tc.held != nil && tc.held.Promised() != tc.most-initialWindow {
				t.Errorf("%d bytes count as growth, want %d", tc.held.Promised(), tc.most-initialWindow)
			}
			for range 10 {
				s.takeAt(1000, 2000)
			}
			if s.window != initialWindow {
				t.Errorf("a window of %d bytes after little has come, want %d", s.window, initialWindow)
			}
			s.takeAt(1e9, trialWindows*s.window)
			must(t, s.Close())
			if tc.held != nil && tc.held.Promised() != 0 {
				t.Errorf("%d bytes count as growth after the end", tc.held.Promised())
			}
		})
	}
}

// TestGrowthIsShared: the windows of all connections together grow by a share of the quota.
func TestGrowthIsShared(t *testing.T) {
	held := quota.New(64 << 20)
	var conns []*scriptedPeer
	for range 4 {
		p := dialPeer(t, Config{Quota: held, PingInterval: time.Hour, PingTimeout: time.Hour})
		conns = append(conns, p)
		for range 3 {
			s := p.open()
			for range 20 {
				s.takeAt(float64(s.window)/0.02, trialWindows*s.window)
			}
		}
	}
	if grown, most := held.Promised(), held.Limit()/grownShare; grown > most || grown < most-maxWindow {
		t.Errorf("the windows have grown by %d bytes, want %d or a bit less", grown, most)
	}
	for _, p := range conns {
		_ = p.c.Close()
	}
	waittest.Eventually(t, "no bytes to count as growth", func() bool { return held.Promised() == 0 })
}

// TestWindowOfALongPath: a path with a long round trip gets a large window too. A window is
// used up once in each round trip.
func TestWindowOfALongPath(t *testing.T) {
	for _, trip := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, 400 * time.Millisecond} {
		p := dialPeer(t, Config{PingInterval: time.Hour, PingTimeout: time.Hour})
		s := p.open()
		for range 100 {
			s.takeAfter(trip/2, s.window/2)
		}
		if s.window != maxWindow {
			t.Errorf("a round trip of %v gets a window of %d bytes, want %d", trip, s.window, maxWindow)
		}
	}
}

// takeAfter lets a stream take n bytes when some time has passed.
func (s *Stream) takeAfter(passed time.Duration, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn.began = s.conn.began.Add(-passed)
	s.measure(n)
}

// TestWindowIsTriedAgain: after trials without success a path that has become longer gets a
// larger window.
func TestWindowIsTriedAgain(t *testing.T) {
	p := dialPeer(t, Config{PingInterval: time.Hour, PingTimeout: time.Hour})
	s := p.open()
	for range 2 * trialPause {
		s.takeAt(50e6, trialWindows*s.window)
		if s.window > 2*freeWindow {
			t.Fatalf("a window of %d bytes, and the path is not faster", s.window)
		}
	}
	for range 2 * trialPause {
		s.takeAt(float64(s.window)/0.02, trialWindows*s.window)
	}
	if s.window != maxWindow {
		t.Errorf("a window of %d bytes, want %d", s.window, maxWindow)
	}
}

// TestWindowOfASlowApp does not grow: what waits for the app fills it.
func TestWindowOfASlowApp(t *testing.T) {
	p := dialPeer(t, Config{PingInterval: time.Hour, PingTimeout: time.Hour})
	s := p.open()
	must(t, p.WriteData(s.wire.ID(), false, []byte("not taken")))
	waittest.Eventually(t, "bytes to wait", func() bool { held, _ := s.Held(); return held > 0 })
	for range 10 {
		s.takeAt(float64(s.window)/0.02, trialWindows*s.window)
	}
	if s.window != initialWindow {
		t.Errorf("a window of %d bytes, want %d", s.window, initialWindow)
	}
}

// TestSendWaits: a Send waits for the target, and no other stream does.
func TestSendWaits(t *testing.T) {
	p := dialPeer(t, Config{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10_000})
	s := p.open()
	sent := make(chan error, 1)
	go func() { sent <- s.Send([]byte(wiretest.Text(30_000))) }()
	got := 0
	for got < 10_000 {
		got += len(p.WantData().Data())
	}
	p.wantAlive()
	must(t, p.WriteWindowUpdate(s.wire.ID(), 20_000))
	for got < 30_000 {
		got += len(p.WantData().Data())
	}
	must(t, waittest.Await(t, sent, "the end of Send"))
}

// TestNoGrowthAfterTheEnd: a Receive behind the end of a stream does not let its window grow.
// No call would give that growth back, and the windows of all other streams would share less.
func TestNoGrowthAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(p *scriptedPeer, s *Stream){
		"closed": func(p *scriptedPeer, s *Stream) { must(p.t, s.Close()) },
		"reset":  func(p *scriptedPeer, s *Stream) { must(p.t, p.WriteRSTStream(s.wire.ID(), http2.ErrCodeConnect)) },
		"ended":  func(p *scriptedPeer, s *Stream) { must(p.t, p.WriteData(s.wire.ID(), true, nil)) },
	} {
		t.Run(name, func(t *testing.T) {
			held := quota.New(64 << 20)
			p := dialPeer(t, Config{Quota: held, PingInterval: time.Hour, PingTimeout: time.Hour})
			s := p.open()
			s.mu.Lock()
			s.measure(trialWindows*initialWindow - 1) // the next byte is one too many
			s.measured++
			s.mu.Unlock()
			end(p, s)
			waittest.Eventually(t, "the end", func() bool {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.closed || s.verdict != nil || s.targetFIN
			})
			_ = waittest.Await(t, receive(s), "the end of Receive")
			if grown := held.Promised(); grown != 0 {
				t.Errorf("%d bytes count as growth after the end", grown)
			}
		})
	}
}
