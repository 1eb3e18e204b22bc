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
				client, server := net.Pipe()
				memory := NewMemory(64 << 20)
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
				for range 300 {
					_ = w.WriteData(1, false, make([]byte, firstWindow/2))
					time.Sleep(tt.pause)
				}
				synctest.Wait()
				if used := memory.Used(); (used > 0) != tt.grows || used > maxWindow {
					t.Errorf("the window has grown by %d bytes", used)
				}
				_ = client.Close()
				<-result
				if used := memory.Used(); used != 0 {
					t.Errorf("%d bytes are left", used)
				}
			})
		})
	}
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
