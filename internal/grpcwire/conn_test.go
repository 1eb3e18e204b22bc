// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestPing: pings are answered at once, with their own payload.
func TestPing(t *testing.T) {
	p := dialPeer(t, testConfig())
	for i := range byte(3) {
		data := [8]byte{i, 2, 3, 4, 5, 6, 7, 8}
		must(t, p.WritePing(false, data))
		if f, ok := p.Next().(*http2.PingFrame); !ok || !f.IsAck() || f.Data != data {
			t.Errorf("a ping is answered with %v", f)
		}
	}
	must(t, p.WritePing(true, [8]byte{9})) // acknowledges no ping
	p.wantAlive()
}

// TestReady: a connection is ready when the server has sent its settings, and not
// before.
func TestReady(t *testing.T) {
	p := silentPeer(t, testConfig())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.c.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ready without settings: %v, want the deadline", err)
	}
	waittest.Await(t, p.ran, "the end of Run")
	if err := p.c.Err(); !errors.Is(err, ErrClosed) {
		t.Errorf("the connection ended with %v, want ErrClosed", err)
	}
}

// TestGoAway: after GOAWAY a connection takes no more streams. The streams that the
// server still serves continue.
func TestGoAway(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.open()
	beyond, beyondTold := p.open()
	must(t, p.WriteGoAway(1<<31-1, http2.ErrCodeNo, nil)) // grpc-go's first GOAWAY of a graceful stop
	waittest.Await(t, p.draining, "Draining")
	if _, err := p.c.Open(newRecorder()); !errors.Is(err, ErrUnprocessed) {
		t.Errorf("Open after GOAWAY: %v, want ErrUnprocessed", err)
	}
	must(t, p.WriteGoAway(s.wire.ID(), http2.ErrCodeNo, nil))
	if err := beyondTold.wantEnd(t, "GOAWAY"); !errors.Is(err, ErrUnprocessed) {
		t.Errorf("the stream that is not served ended with %v, want ErrUnprocessed", err)
	}
	if err := beyond.Send([]byte("x"), nil, false); err != io.EOF {
		t.Errorf("Send on it: %v, want io.EOF", err)
	}
	must(t, p.WriteData(s.wire.ID(), false, []byte(framed("on and on"))))
	waittest.Await(t, h.messages, "a message on the stream that is served")
	must(t, s.Send([]byte("still here"), nil, false))
	p.wantMessages(s.wire.ID(), "still here")
	_ = p.Conn.Close()
	h.wantEnd(t, "error reading from server")
}

// TestFull: a connection takes as many streams as the server allows.
func TestFull(t *testing.T) {
	p := dialPeer(t, testConfig(), http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 2})
	a, _ := p.open()
	p.open()
	if _, err := p.c.Open(newRecorder()); !errors.Is(err, ErrFull) {
		t.Errorf("the third stream of two: %v, want ErrFull", err)
	}
	a.Cancel()
	p.WantReset(a.wire.ID(), http2.ErrCodeCancel)
	p.wantAlive()
}

// TestLoss: when a connection breaks, its streams end and all its methods fail.
func TestLoss(t *testing.T) {
	p := dialPeer(t, testConfig())
	_, a := p.open()
	_, b := p.open()
	_ = p.Conn.Close()
	a.wantEnd(t, "error reading from server: EOF")
	b.wantEnd(t, "error reading from server: EOF")
	waittest.Await(t, p.draining, "Draining")
	waittest.Await(t, p.ran, "the end of Run")
	if _, err := p.c.Open(newRecorder()); err == nil {
		t.Error("a stream on a connection that is lost")
	}
}

// TestClose: Close ends everything with ErrClosed. It may be called again.
func TestClose(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.open()
	must(t, p.c.Close())
	p.Want("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok })
	if err := h.wantEnd(t, "closed"); !errors.Is(err, ErrClosed) {
		t.Errorf("the stream ended with %v, want ErrClosed", err)
	}
	waittest.Await(t, p.ran, "the end of Run")
	_ = p.c.Close()
	s.Cancel()
	s.Taken(1<<20, true)
	if err := s.Send(nil, nil, false); err != io.EOF {
		t.Errorf("Send after Close: %v, want io.EOF", err)
	}
}

// TestBrokenRules: a violation of HTTP/2 ends the connection, and GOAWAY tells the
// server why.
func TestBrokenRules(t *testing.T) {
	raw := func(kind http2.FrameType, flags http2.Flags, stream uint32, payload string) func(*scriptedPeer) {
		return func(p *scriptedPeer) { _ = p.WriteRawFrame(kind, flags, stream, []byte(payload)) }
	}
	for _, tc := range []struct {
		name string
		say  func(*scriptedPeer)
		code http2.ErrCode
	}{
		{"DATA on no stream", raw(http2.FrameData, 0, 0, "x"), http2.ErrCodeProtocol},
		{"DATA on a stream that was never opened", raw(http2.FrameData, 0, 99, "x"), http2.ErrCodeProtocol},
		{"DATA on a stream of the server's", raw(http2.FrameData, 0, 2, "x"), http2.ErrCodeProtocol},
		{"more padding than there is", raw(http2.FrameData, http2.FlagDataPadded, 1, "\x09xxx"), http2.ErrCodeProtocol},
		{"padding of nothing", raw(http2.FrameData, http2.FlagDataPadded, 1, ""), http2.ErrCodeProtocol},
		{"HEADERS on a stream that was never opened", func(p *scriptedPeer) { p.sendAnswer(99) }, http2.ErrCodeProtocol},
		{"HEADERS that cannot be read", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\xff\xff\xff\xff"), http2.ErrCodeCompression},
		{"a table size update that is too large", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x3f\xe2\x1f\x88"), http2.ErrCodeCompression},
		{"a table size update behind a field", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x88\x5f\x10application/grpc\x40\x01a\x01b\x20"), http2.ErrCodeCompression},
		{"three table size updates", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x20\x21\x22\x88"), http2.ErrCodeCompression},
		{"half a table size update", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 1, "\x3f\xe1"), http2.ErrCodeCompression},
		{"DATA between HEADERS and CONTINUATION", func(p *scriptedPeer) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(p)
			raw(http2.FrameData, 0, 1, "x")(p)
		}, http2.ErrCodeProtocol},
		{"CONTINUATION of nothing", raw(http2.FrameContinuation, 0, 1, "\x88"), http2.ErrCodeProtocol},
		{"a reset of a stream that was never opened", raw(http2.FrameRSTStream, 0, 99, "\x00\x00\x00\x00"), http2.ErrCodeProtocol},
		{"WINDOW_UPDATE of nothing", raw(http2.FrameWindowUpdate, 0, 0, "\x00\x00\x00\x00"), http2.ErrCodeProtocol},
		{"a window that is too large", raw(http2.FrameWindowUpdate, 0, 0, "\x7f\xff\xff\xff"), http2.ErrCodeFlowControl},
		{"streams' windows that are too large", func(p *scriptedPeer) {
			_ = p.WriteWindowUpdate(1, 1<<30)
			_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		}, http2.ErrCodeFlowControl},
		{"settings that cannot be", raw(http2.FrameSettings, 0, 0, "\x00\x05\x00\x00\x00\x01"), http2.ErrCodeProtocol},
		{"push turned on", func(p *scriptedPeer) { _ = p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 1}) }, http2.ErrCodeProtocol},
		{"push that is no number", func(p *scriptedPeer) { _ = p.WriteSettings(http2.Setting{ID: http2.SettingEnablePush, Val: 2}) }, http2.ErrCodeProtocol},
		{"a frame length that cannot be", func(p *scriptedPeer) { _ = p.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 100}) }, http2.ErrCodeProtocol},
		{"a window in the settings that cannot be", func(p *scriptedPeer) {
			_ = p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}, http2.ErrCodeFlowControl},
		{"half a setting", raw(http2.FrameSettings, 0, 0, "\x00\x05\x00"), http2.ErrCodeFrameSize},
		{"an ack of settings with settings", raw(http2.FrameSettings, http2.FlagSettingsAck, 0, "\x00\x04\x00\x00\x00\x01"), http2.ErrCodeFrameSize},
		{"settings on a stream", raw(http2.FrameSettings, 0, 1, ""), http2.ErrCodeProtocol},
		{"a ping on a stream", raw(http2.FramePing, 0, 1, "12345678"), http2.ErrCodeProtocol},
		{"GOAWAY on a stream", raw(http2.FrameGoAway, 0, 1, "12345678"), http2.ErrCodeProtocol},
		{"a reset of no stream", raw(http2.FrameRSTStream, 0, 0, "\x00\x00\x00\x00"), http2.ErrCodeProtocol},
		{"a reset of a wrong length", raw(http2.FrameRSTStream, 0, 1, "\x00"), http2.ErrCodeFrameSize},
		{"WINDOW_UPDATE of a wrong length", raw(http2.FrameWindowUpdate, 0, 1, "\x00"), http2.ErrCodeFrameSize},
		{"PRIORITY of no stream", raw(http2.FramePriority, 0, 0, "12345"), http2.ErrCodeProtocol},
		{"HEADERS on no stream", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders, 0, "\x88"), http2.ErrCodeProtocol},
		{"HEADERS with more padding than there is", raw(http2.FrameHeaders, http2.FlagHeadersEndHeaders|http2.FlagHeadersPadded, 1, "\x09\x88"), http2.ErrCodeProtocol},
		{"CONTINUATION of another stream", func(p *scriptedPeer) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(p)
			raw(http2.FrameContinuation, http2.FlagContinuationEndHeaders, 3, "\x88")(p)
		}, http2.ErrCodeProtocol},
		{"a frame of another time between HEADERS and CONTINUATION", func(p *scriptedPeer) {
			raw(http2.FrameHeaders, 0, 1, "\x88")(p)
			raw(0x77, 0, 1, "x")(p)
		}, http2.ErrCodeProtocol},
		{"a ping of a wrong length", raw(http2.FramePing, 0, 0, "1234"), http2.ErrCodeFrameSize},
		{"GOAWAY that takes another back", func(p *scriptedPeer) {
			_ = p.WriteGoAway(1, http2.ErrCodeNo, nil)
			_ = p.WriteGoAway(3, http2.ErrCodeNo, nil)
		}, http2.ErrCodeProtocol},
		{"PUSH_PROMISE", raw(http2.FramePushPromise, http2.FlagPushPromiseEndHeaders, 1, "\x00\x00\x00\x02\x88"), http2.ErrCodeProtocol},
		{"a frame longer than allowed", func(p *scriptedPeer) { _ = p.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, maxFrameBytes+1)) }, http2.ErrCodeFrameSize},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, testConfig())
			_, h := p.open()
			_, other := p.open()
			tc.say(p)
			f := p.Want("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame)
			if f.ErrCode != tc.code {
				t.Errorf("the client ends the connection with %s, want %s", f.ErrCode, tc.code)
			}
			waittest.Await(t, h.ended, "the end of the stream")
			waittest.Await(t, other.ended, "the end of the other stream")
			waittest.Await(t, p.ran, "the end of Run")
		})
	}
}

// TestWhatIsIgnored: frames that are unknown or of no use change nothing.
func TestWhatIsIgnored(t *testing.T) {
	p := dialPeer(t, testConfig())
	must(t, p.WriteRawFrame(0x77, 0xff, 5, []byte("from another time")))
	must(t, p.WritePriority(1, http2.PriorityParam{Weight: 5}))
	must(t, p.WriteSettings(http2.Setting{ID: 0x99, Val: 1}, http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}))
	must(t, p.WriteSettingsAck())
	p.wantAlive()
	p.wantAlive()
}

// TestNoSettings: a connection whose first frame is not SETTINGS ends.
func TestNoSettings(t *testing.T) {
	for _, words := range []string{"HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678", "\x00\x00\x00\x04\x01\x00\x00\x00\x00", "SSH-2.0-OpenSSH_9.9\r\n"} {
		p := silentPeer(t, testConfig())
		_, err := io.WriteString(p.Conn, words)
		must(t, err)
		if err := p.c.Ready(t.Context()); err == nil {
			t.Errorf("a server that begins with %q is taken for one", words)
		} else if !strings.HasPrefix(err.Error(), "error reading from server: ") {
			t.Errorf("the error is %v", err)
		}
	}
}
