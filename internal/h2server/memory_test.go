// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
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
				memory := NewMemory(64 << 20)
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
func sendSteadily(memory *Memory) (send func(times int, pause time.Duration), end func()) {
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
		memory := NewMemory(64 << 20)
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

// TestMemoryIsShared: what is left of the memory bounds how wide a window becomes. So
// windows that have grown leave something to later ones.
func TestMemoryIsShared(t *testing.T) {
	t.Parallel()
	m := NewMemory(64 << 20)
	for range 1000 {
		for n := firstWindow; n < maxWindow && m.grow(n); n *= 2 {
		}
	}
	if left := m.limit - m.Used(); left < firstWindow {
		t.Errorf("%d bytes are left", left)
	}
	if !m.take(earlyWindow) {
		t.Error("a stream that begins early has no room")
	}
}
