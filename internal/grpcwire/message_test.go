// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestMessages: messages arrive whole, however they are cut into frames.
func TestMessages(t *testing.T) {
	long := text(100_000)
	for _, tc := range []struct {
		name   string
		frames []string
		want   []string
	}{
		{"one", []string{framed("one")}, []string{"one"}},
		{"an empty one", []string{framed(""), framed("x")}, []string{"", "x"}},
		{"two in a frame", []string{framed("one") + framed("two")}, []string{"one", "two"}},
		{"cut in the prefix", []string{framed("one")[:3], framed("one")[3:]}, []string{"one"}},
		{"cut behind the prefix", []string{framed("one")[:prefixBytes], framed("one")[prefixBytes:]}, []string{"one"}},
		{"cut in the middle", []string{framed("one")[:7], framed("one")[7:] + framed("two")[:4], framed("two")[4:]}, []string{"one", "two"}},
		{"byte by byte", strings.Split(framed("one")+framed("")+framed("three"), ""), []string{"one", "", "three"}},
		{"empty frames", []string{"", framed("one")[:2], "", framed("one")[2:], ""}, []string{"one"}},
		{"a long one", pieces(framed(long)+framed("x"), maxFrameBytes), []string{long, "x"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, testConfig())
			for _, padded := range []bool{false, true} {
				s, h := p.open()
				for _, f := range tc.frames {
					if padded && len(f) < 1000 {
						must(t, p.WriteDataPadded(s.wire.ID(), false, []byte(f), make([]byte, 7)))
					} else {
						must(t, p.WriteData(s.wire.ID(), false, []byte(f)))
					}
				}
				for _, want := range tc.want {
					if got := waittest.Await(t, h.messages, "a message"); got != want {
						t.Errorf("got %d bytes %.40q, want %d bytes %.40q", len(got), got, len(want), want)
					}
				}
				waittest.Await(t, h.arrived, "Arrived")
				s.Cancel()
				p.WantReset(s.wire.ID(), http2.ErrCodeCancel)
			}
		})
	}
}

func pieces(s string, n int) (all []string) {
	for len(s) > n {
		all, s = append(all, s[:n]), s[n:]
	}
	return append(all, s)
}

// TestEnds: Handler.End gets the server's status. If the server has not ended the
// stream, the client resets it.
func TestEnds(t *testing.T) {
	trailers := func(pairs ...string) func(*scriptedPeer, uint32) {
		return func(p *scriptedPeer, id uint32) { p.SendHeaders(id, true, pairs...) }
	}
	data := func(end bool, payload string) func(*scriptedPeer, uint32) {
		return func(p *scriptedPeer, id uint32) { must(p.t, p.WriteData(id, end, []byte(payload))) }
	}
	const none http2.ErrCode = 0xff
	for _, tc := range []struct {
		name  string
		say   func(*scriptedPeer, uint32)
		words string
		code  codes.Code
		reset http2.ErrCode
	}{
		{"OK", trailers("grpc-status", "0"), "EOF", codes.Unknown, http2.ErrCodeNo},
		{"a status", trailers("grpc-status", "5", "grpc-message", "no such 100%25 thing%0A"), "no such 100% thing\n", codes.NotFound, http2.ErrCodeNo},
		{"a message that is not encoded properly", trailers("grpc-status", "5", "grpc-message", "100%"), "100%", codes.NotFound, http2.ErrCodeNo},
		{"a status that is none", trailers("grpc-status", "fine"), "malformed grpc-status", codes.Internal, http2.ErrCodeNo},
		{"no status", trailers("x", "y"), "without sending grpc-status", codes.Internal, http2.ErrCodeNo},
		{"no trailers", data(true, ""), "without sending trailers", codes.Internal, http2.ErrCodeNo},
		{"a reset", func(p *scriptedPeer, id uint32) { must(p.t, p.WriteRSTStream(id, http2.ErrCodeInternal)) }, "INTERNAL_ERROR", codes.Internal, none},
		{"refused", func(p *scriptedPeer, id uint32) { must(p.t, p.WriteRSTStream(id, http2.ErrCodeRefusedStream)) }, "REFUSED_STREAM", codes.Internal, none},
		{"a compressed message", data(false, "\x01\x00\x00\x00\x01x"), "compressed", codes.Internal, http2.ErrCodeCancel},
		{"a message that is too large", data(false, "\x00\x00\x40\x00\x01x"), "larger than max (4194305 vs. 4194304)", codes.ResourceExhausted, http2.ErrCodeCancel},
		{"headers again", func(p *scriptedPeer, id uint32) { p.sendAnswer(id) }, "in the middle", codes.Internal, http2.ErrCodeProtocol},
		{"a window that is too large", func(p *scriptedPeer, id uint32) { must(p.t, p.WriteWindowUpdate(id, 1<<31-1)) }, "window too large", codes.Internal, http2.ErrCodeFlowControl},
		{"more headers than allowed", trailers(strings.Split(strings.Repeat("x y ", 400)+"grpc-status 0", " ")...), "header list size exceeded", codes.Internal, http2.ErrCodeProtocol},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig()
			cfg.MaxHeaders = 8 << 10
			p := dialPeer(t, cfg)
			s, h := p.open()
			tc.say(p, s.wire.ID())
			if err := h.wantEnd(t, tc.words); status.Code(err) != tc.code {
				t.Errorf("code %s, want %s", status.Code(err), tc.code)
			} else if got := errors.Is(err, ErrUnprocessed); got != (tc.name == "refused") {
				t.Errorf("ErrUnprocessed: %v", got)
			}
			if tc.reset != none {
				p.WantReset(s.wire.ID(), tc.reset)
			}
			if err := s.Send([]byte("x"), nil, false); err != io.EOF {
				t.Errorf("Send on a stream that has ended: %v, want io.EOF", err)
			}
			if sent, err := s.TrySend([]byte("x")); !sent || err != io.EOF {
				t.Errorf("TrySend on a stream that has ended: %v, %v, want io.EOF", sent, err)
			}
			must(t, p.WriteData(s.wire.ID(), false, []byte(framed("late")))) // and other late frames
			must(t, p.WriteWindowUpdate(s.wire.ID(), 5))
			must(t, p.WriteRSTStream(s.wire.ID(), http2.ErrCodeCancel))
			p.SendHeaders(s.wire.ID(), true, "grpc-status", "0")
			p.wantAlive()
			if len(h.messages) > 0 {
				t.Error("a message behind the end")
			}
		})
	}
}

// TestAnswers: an answer that is not gRPC ends the stream.
func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name  string
		pairs []string
		end   bool
		words string // empty: the stream continues
	}{
		{"gRPC", []string{":status", "200", "content-type", "application/grpc"}, false, ""},
		{"gRPC+proto", []string{":status", "200", "content-type", "Application/gRPC+proto"}, false, ""},
		{"a failure at once", []string{":status", "200", "content-type", "application/grpc", "grpc-status", "12", "grpc-message", "unknown service"}, true, "unknown service"},
		{"an end at once", []string{":status", "200", "content-type", "application/grpc"}, true, "without sending grpc-status"},
		{"a web page", []string{":status", "404", "content-type", "text/html"}, false, `HTTP status "404", content-type "text/html"`},
		{"something like gRPC", []string{":status", "200", "content-type", "application/grpc-web"}, false, "unexpected answer"},
		{"gRPC with another status", []string{":status", "503", "content-type", "application/grpc"}, false, "503"},
		{"no status", []string{"content-type", "application/grpc"}, false, "unexpected answer"},
		{"two statuses", []string{":status", "200", ":status", "404", "content-type", "application/grpc"}, false, "pseudo"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, testConfig())
			h := newRecorder()
			s, err := p.c.Open(h)
			must(t, err)
			must(t, s.Send([]byte("hello"), nil, false))
			p.wantMessages(s.wire.ID(), "hello")
			p.SendHeaders(s.wire.ID(), tc.end, tc.pairs...)
			if tc.words != "" {
				h.wantEnd(t, tc.words)
			} else {
				must(t, p.WriteData(s.wire.ID(), false, []byte(framed("x"))))
				waittest.Await(t, h.messages, "a message")
			}
			p.wantAlive()
		})
	}
}

// TestDataBeforeHeaders: an answer begins with its headers.
func TestDataBeforeHeaders(t *testing.T) {
	p := dialPeer(t, testConfig())
	h := newRecorder()
	s, err := p.c.Open(h)
	must(t, err)
	must(t, s.Send([]byte("hello"), nil, false))
	p.wantMessages(s.wire.ID(), "hello")
	must(t, p.WriteData(s.wire.ID(), false, []byte(framed("x"))))
	h.wantEnd(t, "before the headers")
	p.WantReset(s.wire.ID(), http2.ErrCodeProtocol)
	p.wantAlive()
}

// TestRequest: a stream begins with the headers of a gRPC request, also if HPACK has
// encoded them before.
func TestRequest(t *testing.T) {
	p := dialPeer(t, testConfig())
	for range 3 {
		s, err := p.c.Open(newRecorder())
		must(t, err)
		must(t, s.Send([]byte("hello"), nil, false))
		f := p.Want("HEADERS", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok }).(*http2.MetaHeadersFrame)
		var got []string
		for _, h := range f.Fields {
			got = append(got, h.Name+": "+h.Value)
		}
		want := ":method: POST, :scheme: https, :path: /ProxyService/Proxy, :authority: proxy:8090, content-type: application/grpc, user-agent: test, te: trailers"
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("headers %s\nwant %s", got, want)
		}
		if f.StreamEnded() || f.StreamID != s.wire.ID() {
			t.Errorf("stream %d, ended: %v", f.StreamID, f.StreamEnded())
		}
	}
}
