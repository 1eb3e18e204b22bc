// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// appBytes is a tunnel.Early whose app has sent some bytes, or sends them later.
type appBytes struct {
	now   string
	begun chan func(p []byte) bool
	ended bool
	sent  int
}

func newAppBytes(now string) *appBytes {
	return &appBytes{now: now, begun: make(chan func(p []byte) bool, 1)}
}

func (a *appBytes) Begin(send func(p []byte) bool) {
	if a.now != "" && send([]byte(a.now)) {
		a.sent = len(a.now)
	}
	a.begun <- send
}

func (a *appBytes) End()      { a.ended = true }
func (a *appBytes) Sent() int { return a.sent }
func (a *appBytes) TakeBack() { a.sent = 0 }

// beginEarly begins a dial with what the app sends, and returns its stream's number.
func (p *scriptedPeer) beginEarly(a *appBytes) (<-chan dialed, uint32) {
	p.t.Helper()
	done := make(chan dialed, 1)
	go func() {
		s, err := p.c.DialEarly(p.t.Context(), "10.0.0.1:80", a)
		done <- dialed{s, err}
	}()
	return done, p.WantHeaders().StreamID
}

func (p *scriptedPeer) wantData(want string) {
	p.t.Helper()
	if got := string(p.WantData().Data()); got != want {
		p.t.Fatalf("the proxy gets %q, want %q", got, want)
	}
}

// TestEarlyBytes: what the app sends before the answer reaches the proxy before the answer,
// and what it sends afterwards comes behind it.
func TestEarlyBytes(t *testing.T) {
	for _, later := range []bool{false, true} {
		p := dialPeer(t, Config{})
		a := newAppBytes("hello")
		if later {
			a = newAppBytes("")
		}
		done, id := p.beginEarly(a)
		if later {
			if send := waittest.Await(t, a.begun, "the dial to ask for bytes"); !send([]byte("hello")) {
				t.Fatal("not sent")
			}
		}
		p.wantData("hello")
		p.SendHeaders(id, false, ":status", "200")
		d := waittest.Await(t, done, "the end of the dial")
		must(t, d.err)
		if !a.ended {
			t.Error("the dial has ended, and still asks for bytes")
		}
		must(t, d.Send([]byte("more")))
		p.wantData("more")
	}
}

// TestEarlyBytesThatDoNotFit are not sent at all.
func TestEarlyBytesThatDoNotFit(t *testing.T) {
	p := dialPeer(t, Config{}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 4})
	a := newAppBytes("hello")
	done, id := p.beginEarly(a)
	p.SendHeaders(id, false, ":status", "200")
	d := waittest.Await(t, done, "the end of the dial")
	must(t, d.err)
	if a.sent != 0 {
		t.Errorf("%d bytes are sent beyond the window", a.sent)
	}
	must(t, d.Send([]byte("more"))) // fits
	p.wantData("more")
}

// TestEarlyBytesOfFailures: only an answer that the proxy has not passed them on takes them
// back.
func TestEarlyBytesOfFailures(t *testing.T) {
	for _, tc := range []struct {
		name string
		say  func(*scriptedPeer, uint32)
		sent int
	}{
		{"a refusal", func(p *scriptedPeer, id uint32) { p.SendHeaders(id, true, ":status", "502") }, 0},
		{"REFUSED_STREAM", reset(http2.ErrCodeRefusedStream), 0},
		{"a GOAWAY for earlier streams", func(p *scriptedPeer, _ uint32) { must(p.t, p.WriteGoAway(0, http2.ErrCodeNo, nil)) }, 0},
		{"INTERNAL_ERROR", reset(http2.ErrCodeInternal), 5},
		{"the connection's end", func(p *scriptedPeer, _ uint32) { _ = p.Conn.Close() }, 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, Config{})
			a := newAppBytes("hello")
			done, id := p.beginEarly(a)
			p.wantData("hello")
			tc.say(p, id)
			if d := waittest.Await(t, done, "the end of the dial"); d.err == nil || a.sent != tc.sent {
				t.Errorf("the dial ends with %v, and %d bytes count as sent, want %d", d.err, a.sent, tc.sent)
			}
		})
	}
}
