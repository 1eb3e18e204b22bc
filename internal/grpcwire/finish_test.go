// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"io"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// openFinishing opens a stream whose handler finishes it with the first message.
func (p *scriptedPeer) openFinishing(want bool) (*Stream, *recorder) {
	p.t.Helper()
	s, h := p.open()
	h.onMessage = func() {
		if got := s.Finish(); got != want {
			p.t.Errorf("Finish: %v, want %v", got, want)
		}
	}
	return s, h
}

// wantEndOfStream reads up to END_STREAM on stream. A reset before it is an error.
func (p *scriptedPeer) wantEndOfStream(stream uint32) {
	p.t.Helper()
	p.Want("END_STREAM", func(f http2.Frame) bool {
		if r, ok := f.(*http2.RSTStreamFrame); ok {
			p.t.Fatalf("%v in place of END_STREAM", r)
		}
		d, ok := f.(*http2.DataFrame)
		return ok && d.StreamID == stream && d.StreamEnded() && d.Length == 0
	})
}

// wantNoReset calls wantAlive, and checks that the client has not reset stream.
func (p *scriptedPeer) wantNoReset(stream uint32) {
	p.t.Helper()
	must(p.t, p.WritePing(false, [8]byte{1}))
	p.Want("the answer to a ping", func(f http2.Frame) bool {
		if r, ok := f.(*http2.RSTStreamFrame); ok && r.StreamID == stream {
			p.t.Errorf("%v", r)
		}
		ping, ok := f.(*http2.PingFrame)
		return ok && ping.IsAck()
	})
}

// TestFinish: the stream counts as open until both sides have ended it.
func TestFinish(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.openFinishing(true)
	must(t, p.WriteData(s.wire.ID(), false, []byte(framed("that was all")+framed("behind it"))))
	p.wantEndOfStream(s.wire.ID())
	for sent := 0; sent < testConfig().StreamWindow-maxFrameBytes; sent += maxFrameBytes { // the client returns these bytes
		must(t, p.WriteData(s.wire.ID(), false, make([]byte, maxFrameBytes)))
	}
	p.Want("WINDOW_UPDATE", func(f http2.Frame) bool {
		w, ok := f.(*http2.WindowUpdateFrame)
		return ok && w.StreamID == s.wire.ID()
	})
	if n := p.c.Streams(); n != 1 {
		t.Errorf("%d streams before the server has ended the one", n)
	}
	if err := s.Send([]byte("x"), nil, false); err != io.EOF {
		t.Errorf("Send behind Finish: %v, want io.EOF", err)
	}
	p.SendHeaders(s.wire.ID(), true, "grpc-status", "0")
	h.wantEnd(t, "EOF")
	p.wantNoReset(s.wire.ID())
	if n := p.c.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	if n := len(h.messages); n != 1 {
		t.Errorf("%d messages, want that before Finish", n)
	}
}

// TestFinishInAMessage: END_STREAM cannot follow a part of a message.
func TestFinishInAMessage(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingInitialWindowSize, Val: 20})
	s, h := p.openFinishing(false)
	sent := make(chan error)
	go func() { sent <- s.Send([]byte(text(100)), nil, false) }()
	p.Want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok })
	must(t, p.WriteData(s.wire.ID(), false, []byte(framed("that was all"))))
	waittest.Await(t, h.messages, "the message")
	s.Cancel()
	p.WantReset(s.wire.ID(), http2.ErrCodeCancel)
	if err := waittest.Await(t, sent, "the end of Send"); err != io.EOF {
		t.Errorf("Send: %v, want io.EOF", err)
	}
}

// TestFinishIsNotHeard: Cancel resets a finished stream that the server does not end.
func TestFinishIsNotHeard(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, _ := p.openFinishing(true)
	must(t, p.WriteData(s.wire.ID(), false, []byte(framed("that was all"))))
	p.wantEndOfStream(s.wire.ID())
	s.Cancel()
	p.WantReset(s.wire.ID(), http2.ErrCodeCancel)
	p.wantAlive()
}
