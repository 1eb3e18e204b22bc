// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestSendKeepsTheWindows: nothing is sent beyond a window, also after the setting has made
// it negative.
func TestSendKeepsTheWindows(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 10})
	s := p.begin(t, 1)
	sent := make(chan error, 1)
	go func() { sent <- send(s, bytes.Repeat([]byte("x"), 40)) }()
	if f := next[*http2.DataFrame](t, p); len(f.Data()) != 10 {
		t.Fatalf("%d bytes, want 10", len(f.Data()))
	}
	_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 5}) // now it is -5
	_ = p.WriteWindowUpdate(1, 6)
	if f := next[*http2.DataFrame](t, p); len(f.Data()) != 1 {
		t.Fatalf("%d bytes, want 1", len(f.Data()))
	}
	_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 100})
	if f := next[*http2.DataFrame](t, p); len(f.Data()) != 29 {
		t.Fatalf("%d bytes, want 29", len(f.Data()))
	}
	if err := waittest.Await(t, sent, "the end of Send"); err != nil {
		t.Error(err)
	}
}

// TestConnectionWindowIsShared: a stream that has used up the connection's window waits,
// and goes on as soon as there is more.
func TestConnectionWindowIsShared(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	first, second := p.begin(t, 1), p.begin(t, 3)
	sent := make(chan error, 2)
	for _, s := range []*Stream{first, second} {
		go func() { sent <- send(s, make([]byte, 100_000)) }()
	}
	total := 0
	for total < defaultWindow {
		total += len(next[*http2.DataFrame](t, p).Data())
	}
	if total != defaultWindow {
		t.Fatalf("%d bytes were sent, and the window has %d", total, defaultWindow)
	}
	_ = p.WriteWindowUpdate(0, 200_000-defaultWindow)
	for total < 200_000 {
		total += len(next[*http2.DataFrame](t, p).Data())
	}
	for range 2 {
		if err := waittest.Await(t, sent, "the end of Send"); err != nil {
			t.Error(err)
		}
	}
}

// TestReceiveWindow: the window is returned only for what the handler has taken, padding
// included, and grows if all of it was.
func TestReceiveWindow(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	s := p.begin(t, 1)
	data := make([]byte, firstWindow/2-100)
	_ = p.WriteDataPadded(1, false, data, make([]byte, 99)) // with the length of the padding
	_ = p.WriteData(1, false, make([]byte, firstWindow/2))
	got := 0
	for got < len(data)+firstWindow/2 {
		b, err := s.Receive()
		if err != nil {
			t.Fatal(err)
		}
		got += len(b)
	}
	go func() { _, _ = s.Receive() }() // returns what was taken
	f := next[*http2.WindowUpdateFrame](t, p)
	for f.StreamID != 1 {
		f = next[*http2.WindowUpdateFrame](t, p)
	}
	if f.Increment < firstWindow/2 {
		t.Errorf("the window was opened by %d", f.Increment)
	}
	_ = p.WriteData(1, true, nil)
}

// TestWindowBeforeTheSettings: a client that does not know our SETTINGS yet may use the
// default window (RFC 9113 6.9.2). When it knows them, what it has used is returned to it.
func TestWindowBeforeTheSettings(t *testing.T) {
	t.Parallel()
	p := newEarlyPeer(t, nil)
	s := p.begin(t, 1)
	receive := func(n int) {
		for n > 0 {
			b, err := s.Receive()
			if err != nil {
				t.Fatal(err)
			}
			n -= len(b)
		}
	}
	window := defaultWindow
	send := func(n int) {
		window -= n
		for n > 0 {
			size := min(n, maxFrame)
			_ = p.WriteData(1, false, make([]byte, size))
			n -= size
		}
	}
	send(defaultWindow)
	receive(defaultWindow)
	received := make(chan struct{})
	go func() { // waits when the client acknowledges
		defer close(received)
		receive(firstWindow / 2)
	}()
	_ = p.WriteSettingsAck()
	window -= earlyWindow
	for window < firstWindow/2 {
		if f := next[*http2.WindowUpdateFrame](t, p); f.StreamID == 1 {
			window += int(f.Increment)
		}
	}
	send(firstWindow / 2)
	waittest.Await(t, received, "what fits into the window")
	p.release()
	if reset := next[*http2.RSTStreamFrame](t, p); reset.ErrCode != http2.ErrCodeCancel {
		t.Errorf("the stream ended with %v before its handler", reset.ErrCode)
	}
	waittest.Eventually(t, "the memory to be given back", func() bool { return p.conn.cfg.Memory.Used() == 0 })
}
