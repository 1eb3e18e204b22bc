// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// wantStreamWindow reads up to our next SETTINGS frame, and checks its window.
func (p *scriptedPeer) wantStreamWindow(bytes int) {
	p.t.Helper()
	f := p.Want("SETTINGS", func(f http2.Frame) bool { s, ok := f.(*http2.SettingsFrame); return ok && !s.IsAck() }).(*http2.SettingsFrame)
	if v, ok := f.Value(http2.SettingInitialWindowSize); !ok || int(v) != bytes {
		p.t.Errorf("a window of %d bytes in SETTINGS, want %d", v, bytes)
	}
}

// wantWindow waits until the window of s is that.
func wantWindow(t *testing.T, s *Stream, bytes int) {
	t.Helper()
	waittest.Eventually(t, "the window to change", func() bool { return s.Window() == bytes })
}

// TestStreamWindowChanges: a smaller window counts when the server has acknowledged it, for
// the streams before it, and a larger one at once. New streams begin with it.
func TestStreamWindowChanges(t *testing.T) {
	const wide, narrow = 256 << 10, 16 << 10
	p := dialPeer(t, testConfig())
	must(t, p.WriteSettingsAck()) // of the preface
	a, heard := p.open()
	p.c.SetStreamWindow(narrow)
	p.wantStreamWindow(narrow)
	b, _ := p.open()
	if a.Window() != wide || b.Window() != narrow {
		t.Errorf("windows of %d and %d bytes before the acknowledgement", a.Window(), b.Window())
	}
	for range 4 { // still allowed
		must(t, p.WriteData(a.id, false, make([]byte, MaxFrame)))
	}
	must(t, p.WriteSettingsAck())
	wantWindow(t, a, narrow-4*MaxFrame)    // negative
	must(t, p.WriteData(a.id, false, nil)) // uses nothing of it
	for range 4 + 1 {
		waittest.Await(t, heard.data, "each frame")
	}
	if b.Window() != narrow {
		t.Errorf("a window of %d bytes of a stream that began with %d", b.Window(), narrow)
	}
	p.c.SetStreamWindow(wide / 2)
	p.c.SetStreamWindow(narrow / 2)
	p.c.SetStreamWindow(wide)
	p.wantStreamWindow(wide / 2)
	if a.Window() != wide/2-4*MaxFrame || b.Window() != wide/2 {
		t.Errorf("windows of %d and %d bytes after a larger one was sent", a.Window(), b.Window())
	}
	must(t, p.WriteSettingsAck())
	p.wantStreamWindow(wide) // the one between was never sent
	wantWindow(t, a, wide-4*MaxFrame)
	must(t, p.WriteSettingsAck())
	must(t, p.WriteSettingsAck()) // acknowledges nothing
	p.wantAlive()
	wantWindow(t, b, wide)
}

// TestStreamWindowBeforeTheFirstAck: a change waits until the server has acknowledged the
// settings of the preface.
func TestStreamWindowBeforeTheFirstAck(t *testing.T) {
	p := dialPeer(t, testConfig())
	p.c.SetStreamWindow(1000)
	p.wantAlive()
	must(t, p.WriteSettingsAck())
	p.wantStreamWindow(1000)
}

// TestBeyondAChangedWindow: a server that sends beyond a window that it has acknowledged
// loses the stream.
func TestBeyondAChangedWindow(t *testing.T) {
	p := dialPeer(t, testConfig())
	must(t, p.WriteSettingsAck())
	s, h := p.open()
	p.c.SetStreamWindow(1000)
	p.wantStreamWindow(1000)
	must(t, p.WriteSettingsAck())
	must(t, p.WriteData(s.id, false, make([]byte, 1001)))
	h.wantEnd(t, "beyond the stream's window")
	p.WantReset(s.id, http2.ErrCodeFlowControl)
	p.wantAlive()
}
