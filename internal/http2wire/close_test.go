// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// wantEndOfStream reads up to END_STREAM on stream.
func (p *scriptedPeer) wantEndOfStream(stream uint32) {
	p.t.Helper()
	if f := p.WantData(); f.StreamID != stream || !f.StreamEnded() || f.Length != 0 {
		p.t.Errorf("%v in place of END_STREAM on stream %d", f, stream)
	}
}

// wantStreams checks how many streams are open.
func (p *scriptedPeer) wantStreams(n int) {
	p.t.Helper()
	if got := p.c.Streams(); got != n {
		p.t.Errorf("%d streams, want %d", got, n)
	}
}

// TestHalfClose: each side ends its own direction, and the other goes on. The stream is
// over when both have, whichever was first.
func TestHalfClose(t *testing.T) {
	t.Run("ours first", func(t *testing.T) {
		p := dialPeer(t, testConfig())
		s, h := p.open()
		for range 2 { // the second changes nothing
			if !s.CloseSend() {
				t.Error("CloseSend of an open stream failed")
			}
		}
		p.c.Flush()
		p.wantEndOfStream(s.id)
		if err := send(s, "x"); err != io.EOF {
			t.Errorf("Send behind it: %v, want io.EOF", err)
		}
		must(t, p.WriteData(s.id, false, []byte("the answer")))
		if got := waittest.Await(t, h.data, "data"); got != "the answer" {
			t.Errorf("got %q", got)
		}
		p.wantStreams(1)
		must(t, p.WriteData(s.id, true, []byte("the last")))
		waittest.Await(t, h.closed, "the server's end")
		p.wantAlive()
		p.wantStreams(0)
		s.Reset(http2.ErrCodeCancel) // sends nothing, as wantAlive then sees
		p.wantAlive()
		if len(h.ended) != 0 {
			t.Errorf("it ended with %v", <-h.ended)
		}
	})
	t.Run("the server's first", func(t *testing.T) {
		p := dialPeer(t, testConfig())
		s, h := p.open()
		p.SendHeaders(s.id, true, "x-trailer", "1")
		waittest.Await(t, h.closed, "the server's end")
		must(t, send(s, "still sending"))
		if got := p.WantData(); string(got.Data()) != "still sending" {
			t.Errorf("the client sent %q", got.Data())
		}
		p.wantStreams(1)
		if !s.CloseSend() {
			t.Error("CloseSend failed")
		}
		p.wantStreams(0)
		p.c.Flush()
		p.wantEndOfStream(s.id)
		p.wantAlive()
	})
}

// TestResetBehindTheEnd: a reset that follows the server's END_STREAM still arrives,
// while our direction is open.
func TestResetBehindTheEnd(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.open()
	must(t, p.WriteData(s.id, true, nil))
	waittest.Await(t, h.closed, "the server's end")
	must(t, p.WriteRSTStream(s.id, http2.ErrCodeConnect))
	err := h.wantEnd(t, "CONNECT_ERROR")
	if reset, ok := errors.AsType[PeerReset](err); !ok || reset.Code != http2.ErrCodeConnect {
		t.Errorf("the stream ended with %v, want a PeerReset", err)
	}
	p.wantStreams(0)
}

// TestFramesBehindTheEnd: a server that goes on after its END_STREAM loses the stream.
func TestFramesBehindTheEnd(t *testing.T) {
	for name, say := range map[string]func(*scriptedPeer, uint32){
		"DATA":    func(p *scriptedPeer, id uint32) { must(p.t, p.WriteData(id, false, []byte("x"))) },
		"HEADERS": func(p *scriptedPeer, id uint32) { p.SendHeaders(id, true, "x", "y") },
	} {
		t.Run(name, func(t *testing.T) {
			p := dialPeer(t, testConfig())
			s, h := p.open()
			must(t, p.WriteData(s.id, true, nil))
			say(p, s.id)
			h.wantEnd(t, "behind its end")
			p.WantReset(s.id, http2.ErrCodeStreamClosed)
			p.wantAlive()
		})
	}
}

// TestPingOfOurs: a PING is sent with its payload, and its answer counts as a read.
func TestPingOfOurs(t *testing.T) {
	p := dialPeer(t, testConfig())
	before := p.c.Reads()
	p.c.Ping([8]byte{1, 2, 3})
	f := p.Want("PING", func(f http2.Frame) bool { _, ok := f.(*http2.PingFrame); return ok }).(*http2.PingFrame)
	if f.Data != [8]byte{1, 2, 3} {
		t.Errorf("the payload is %v", f.Data)
	}
	must(t, p.WritePing(true, f.Data))
	waittest.Eventually(t, "the answer to be read", func() bool { return p.c.Reads() > before })
}

// TestFail: the streams end with the error of Fail.
func TestFail(t *testing.T) {
	p := dialPeer(t, testConfig())
	_, h := p.open()
	why := errors.New("it is silent")
	p.c.Fail(why)
	if err := h.wantEnd(t, "it is silent"); !errors.Is(err, why) {
		t.Errorf("the stream ended with %v", err)
	}
	waittest.Await(t, p.ran, "the end of Run")
}
