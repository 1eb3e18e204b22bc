// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestWindowsGrowForFastStreams: a stream that sends little at a time keeps its first window,
// however long it lasts. The memory is for those that a wider window makes faster.
func TestWindowsGrowForFastStreams(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		pause time.Duration // between two times half of the first window
		grows bool
	}{
		"slow": {growWithin, false},
		"fast": {10 * time.Millisecond, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				memory := NewMemory(64 << 20).NewShare()
				send, end := sendSteadily(memory)
				send(300, tt.pause)
				if used := memory.Used(); (used > 0) != tt.grows || used > maxWindow {
					t.Errorf("the window has grown by %d bytes", used)
				}
				end()
				if used := memory.Used(); used != 0 {
					t.Errorf("%d bytes are left", used)
				}
			})
		})
	}
}

// sendSteadily begins a stream to a handler that takes everything. send sends half of the
// first window, so many times, and pauses after each time.
func sendSteadily(memory *Share) (send func(times int, pause time.Duration), end func()) {
	client, server := net.Pipe()
	c := New(server, nil, Config{
		Serve: func(s *Stream) {
			for {
				if _, err := s.Receive(); err != nil {
					return
				}
			}
		},
		MaxStreams: 1, Memory: memory, StartTimeout: time.Hour, PingInterval: time.Hour, PingTimeout: time.Hour, WriteTimeout: time.Hour,
	})
	result := make(chan error, 1)
	go func() { result <- c.Run() }()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	w := http2.NewFramer(client, nil)
	_, _ = io.WriteString(client, http2.ClientPreface)
	_ = w.WriteSettings()
	_ = w.WriteSettingsAck()
	block := append([]byte{0x02, 7}, "CONNECT"...)
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: append(append(block, 0x01, 4), "a:80"...), EndHeaders: true})
	send = func(times int, pause time.Duration) {
		for range times {
			_ = w.WriteData(1, false, make([]byte, firstWindow/2))
			time.Sleep(pause)
		}
		synctest.Wait()
	}
	return send, func() {
		_ = client.Close()
		<-result
	}
}

// TestWindowsShrink: a stream that has become slow gives back what its window has grown by,
// and gets it again when it is fast again.
func TestWindowsShrink(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		memory := NewMemory(64 << 20).NewShare()
		send, end := sendSteadily(memory)
		defer end()
		for range 2 {
			send(1000, 10*time.Millisecond)
			if used := memory.Used(); used < maxWindow/4 {
				t.Errorf("the window has grown by %d bytes", used)
			}
			send(1000, growWithin)
			if used := memory.Used(); used != 0 {
				t.Errorf("a slow stream has %d bytes", used)
			}
		}
	})
}

// growAll makes the windows of many streams as wide as it can.
func growAll(s *Share) {
	for range 1000 {
		for n := firstWindow; n < maxWindow && s.grow(n); n *= 2 {
		}
	}
}

// TestMemoryIsShared: what is left of the memory bounds how wide a window becomes. So
// windows that have grown leave something to later ones.
func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	s := NewMemory(64 << 20).NewShare()
	growAll(s)
	if left := s.left(); left < firstWindow {
		t.Errorf("%d bytes are left", left)
	}
	if !s.take(earlyWindow) {
		t.Error("a stream that begins early has no room")
	}
}

// TestLeastMemoryOfWideOutputs: the least --total-buffer with which an output becomes wide is
// the one that README.md and the flag's help have.
func TestLeastMemoryOfWideOutputs(t *testing.T) {
	t.Parallel()
	const documented = 2 << 20
	for limit, want := range map[int64]bool{documented: true, documented - 1: false} {
		c := &Conn{cfg: Config{Memory: NewMemory(limit).NewShare()}}
		if got := c.widen(); got != want {
			t.Errorf("with %d bytes an output becomes wide: %v, want %v", limit, got, want)
		}
	}
}

// TestWideOutputsLeaveSome: a client that reads nothing on many connections can still begin
// streams, and upload on them.
func TestWideOutputsLeaveSome(t *testing.T) {
	t.Parallel()
	s := NewMemory(64 << 20).NewShare()
	c := &Conn{cfg: Config{Memory: s}}
	for c.widen() {
		c.out.wide = false // as the next connection's is
	}
	if !s.take(earlyWindow) {
		t.Error("a stream that begins early has no room")
	}
	if !s.grow(firstWindow) {
		t.Error("a window cannot grow")
	}
}

// TestShares: a client that takes what it can get has half of what was free before. So each
// client finds half of what the one before has found, and may take half of that.
func TestShares(t *testing.T) {
	t.Parallel()
	const limit = 64 << 20
	m := NewMemory(limit)
	for free := int64(limit); free > 1; free -= free / 2 {
		s := m.NewShare()
		growAll(s)
		for n := maxWindow; n > 0; n /= 2 {
			for s.take(n) {
			}
		}
		if s.Used() != free/2 || m.Used() != limit-free+free/2 {
			t.Fatalf("a client has %d bytes of the %d that were free, and %d are used", s.Used(), free, m.Used())
		}
	}
}

// TestUploadBesideOthers: the windows of a client become as wide as they can while another
// one holds all that it can get.
func TestUploadBesideOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(64 << 20)
		growAll(m.NewShare())
		share := m.NewShare()
		send, end := sendSteadily(share)
		send(2000, time.Millisecond)
		if used := share.Used(); used != maxWindow-firstWindow {
			t.Errorf("the window has grown by %d bytes, want %d", used, maxWindow-firstWindow)
		}
		end()
	})
}

// TestUnreadOutput: what waits for a client that does not read takes memory of the client's
// share, and stays small if there is none. It is given back when the client has read it.
func TestUnreadOutput(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		limit, used int64
		pending     int // at most
	}{
		"memory for it": {growPart * wideOutput, wideOutput, maxPending + 64<<10 + 1<<10},
		"no memory":     {wideOutput, 0, 2*minPending + 1<<10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				share := NewMemory(tt.limit).NewShare()
				c, client, end := stalledDownloads(share)
				synctest.Wait()
				c.mu.Lock()
				pending := len(c.out.pending)
				c.mu.Unlock()
				if used := share.Used(); used != tt.used || pending > tt.pending || pending < minPending {
					t.Errorf("%d bytes are used and %d wait, want %d and at most %d", used, pending, tt.used, tt.pending)
				}
				go func() { _, _ = io.Copy(io.Discard, client) }()
				synctest.Wait()
				time.Sleep(time.Hour)
				if used := share.Used(); used != 0 {
					t.Errorf("%d bytes are used when all was read", used)
				}
				end()
			})
		})
	}
}

// TestReadOutput: downloads of a client that reads need no memory of its share.
func TestReadOutput(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	s := p.begin(t, 1)
	for range 4 { // one at a time
		sent := make(chan error, 1)
		go func() { sent <- send(s, make([]byte, 15<<10)) }()
		next[*http2.DataFrame](t, p)
		if err := waittest.Await(t, sent, "the end of Send"); err != nil {
			t.Fatal(err)
		}
		waittest.Eventually(t, "the end of the write", func() bool {
			p.conn.mu.Lock()
			defer p.conn.mu.Unlock()
			return !p.conn.out.writing && len(p.conn.out.pending) == 0
		})
	}
	if n, err := s.Reserve(64 << 10); err != nil || n < 1000 {
		t.Errorf("%d bytes and %v", n, err)
	} else if err := s.Send(nil, n); err != nil {
		t.Error(err)
	}
	if used := p.conn.cfg.Memory.Used(); used != 0 {
		t.Errorf("%d bytes are used", used)
	}
}

// stalledDownloads begins streams that send 64 KiB at a time, 1 MiB each, to a client that
// does not read.
func stalledDownloads(memory *Share) (c *Conn, client net.Conn, end func()) {
	client, server := net.Pipe()
	c = New(server, nil, Config{
		Serve: func(s *Stream) {
			_ = s.Accept()
			for range 16 {
				_ = send(s, make([]byte, 64<<10))
			}
			_ = s.CloseWrite()
		},
		MaxStreams: 8, Memory: memory, StartTimeout: time.Hour, PingInterval: time.Hour, PingTimeout: time.Hour, WriteTimeout: 24 * time.Hour,
	})
	result := make(chan error, 1)
	go func() { result <- c.Run() }()
	w := http2.NewFramer(client, nil)
	_, _ = io.WriteString(client, http2.ClientPreface)
	_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	_ = w.WriteSettingsAck()
	_ = w.WriteWindowUpdate(0, 16<<20)
	for i := range 8 {
		block := append([]byte{0x02, 7}, "CONNECT"...)
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: append(append(block, 0x01, 4), "a:80"...), EndHeaders: true, EndStream: true})
	}
	return c, client, func() {
		_ = client.Close()
		<-result
	}
}

// TestExceededShare: a client that has taken its share before others came gives them some.
// Its windows become narrower when their handlers take what was sent, and none is lost.
func TestExceededShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(6 * maxWindow)
		first := m.NewShare()
		send, end := sendSteadily(first)
		defer end()
		send(1000, time.Millisecond)
		for !first.isExceeded() {
			for other := m.NewShare(); other.take(firstWindow); {
			}
		}
		before := first.Used()
		send(1000, time.Millisecond)
		if first.isExceeded() || first.Used() < before/8 {
			t.Errorf("the first client had %d bytes and has %d, and %d are free", before, first.Used(), m.limit-m.Used())
		}
	})
}

// TestExceededOutput: a client that reads slowly on a connection gives back what its output
// takes when others need some. Streams go on, and less waits for them.
func TestExceededOutput(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := NewMemory(growPart * wideOutput)
		share := m.NewShare()
		c, client, end := stalledDownloads(share)
		defer end()
		synctest.Wait()
		for !share.isExceeded() {
			for other := m.NewShare(); other.take(firstWindow); {
			}
		}
		if used := share.Used(); used != wideOutput {
			t.Fatalf("the client has %d bytes before, want %d", used, wideOutput)
		}
		if _, err := io.CopyN(io.Discard, client, 4*maxPending); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		c.mu.Lock()
		pending := len(c.out.pending)
		c.mu.Unlock()
		if used := share.Used(); used != 0 || pending > 2*minPending+1<<10 || pending < minPending {
			t.Errorf("%d bytes are used and %d wait, want none and at most %d", used, pending, 2*minPending)
		}
		if n, err := io.CopyN(io.Discard, client, 8<<20-4*maxPending); err != nil {
			t.Errorf("%v after %d bytes", err, n)
		}
	})
}
