// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// unanswered opens a stream, and the server does not answer it.
func (p *scriptedPeer) unanswered() (*Stream, *recorder) {
	p.t.Helper()
	h := newRecorder()
	s, err := p.c.Open(h)
	must(p.t, err)
	must(p.t, s.Send([]byte("hello"), nil, false))
	p.Want("HEADERS", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	p.wantMessages(s.wire.ID(), "hello")
	return s, h
}

// TestInterimResponses: any number of interim responses may precede the answer.
func TestInterimResponses(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.unanswered()
	for _, status := range []string{"100", "103", "103", "199"} {
		p.SendHeaders(s.wire.ID(), false, ":status", status, "link", "</style.css>; rel=preload")
	}
	p.sendAnswer(s.wire.ID())
	must(t, p.WriteData(s.wire.ID(), false, []byte(framed("at last"))))
	if got := waittest.Await(t, h.messages, "a message"); got != "at last" {
		t.Errorf("got %q", got)
	}
	p.SendHeaders(s.wire.ID(), true, "grpc-status", "0")
	if err := h.wantEnd(t, "EOF"); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestMalformedAnswers: an answer that violates HTTP/2 ends its stream, and no other
// (RFC 9113, section 8.1.1).
func TestMalformedAnswers(t *testing.T) {
	const gRPC = ":status 200 content-type application/grpc "
	type block struct {
		fields string
		end    bool
	}
	for _, tc := range []struct {
		name   string
		blocks []block
		data   string // after the headers
		words  string
	}{
		{"an interim response that is the last", []block{{":status 103", true}}, "", "ends the stream"},
		{"101", []block{{":status 101", false}}, "", "101"},
		{"an interim response behind the answer", []block{{gRPC, false}, {":status 100", false}}, "", "in the middle"},
		{"DATA behind an interim response", []block{{":status 100", false}}, framed("x"), "before the headers"},
		{"a status in the trailers", []block{{gRPC, false}, {":status 200 grpc-status 0", true}}, "", "pseudo-header"},
		{"two statuses", []block{{":status 200 " + gRPC, false}}, "", "two pseudo-header fields"},
		{"a status behind a field", []block{{"content-type application/grpc :status 200", false}}, "", "behind others"},
		{"a pseudo-header field of a request", []block{{":status 200 :path / content-type application/grpc", false}}, "", "\":path\" in an answer"},
		{"an unknown pseudo-header field", []block{{":x y " + gRPC, false}}, "", "\":x\" in an answer"},
		{"no status", []block{{"content-type application/grpc", false}}, "", "HTTP status \"\""},
		{"a name in upper case", []block{{gRPC + "X-Upper y", false}}, "", "invalid name"},
		{"a field of HTTP/1.1", []block{{gRPC + "connection close", false}}, "", "the field connection"},
		{"another", []block{{gRPC + "transfer-encoding chunked", false}}, "", "the field transfer-encoding"},
		{"a content-length that is none", []block{{gRPC + "content-length -1", false}}, "", "content-length is no length"},
		{"two content-lengths", []block{{gRPC + "content-length 6 content-length 7", false}}, "", "content-length is no length"},
		{"more DATA than announced", []block{{gRPC + "content-length 5", false}}, framed("x"), "beyond its content-length"},
		{"less DATA than announced", []block{{gRPC + "content-length 7", false}, {"grpc-status 0", true}}, framed("x"), "6 bytes, and content-length is 7"},
		{"none, and some announced", []block{{gRPC + "content-length 7 grpc-status 0", true}}, "", "0 bytes, and content-length is 7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := dialPeer(t, testConfig())
			s, h := p.unanswered()
			for i, b := range tc.blocks {
				p.SendHeaders(s.wire.ID(), b.end, strings.Fields(b.fields)...)
				if i == 0 && tc.data != "" {
					must(t, p.WriteData(s.wire.ID(), false, []byte(tc.data)))
				}
			}
			h.wantEnd(t, tc.words)
			p.WantReset(s.wire.ID(), http2.ErrCodeProtocol)
			p.wantAlive()
		})
	}
}

// TestContentLength: a correct content-length is accepted.
func TestContentLength(t *testing.T) {
	p := dialPeer(t, testConfig())
	s, h := p.unanswered()
	p.SendHeaders(s.wire.ID(), false, ":status", "200", "content-type", "application/grpc", "content-length", "6")
	must(t, p.WriteDataPadded(s.wire.ID(), false, []byte(framed("x")), make([]byte, 9)))
	p.SendHeaders(s.wire.ID(), true, "grpc-status", "0")
	waittest.Await(t, h.messages, "a message")
	if err := h.wantEnd(t, "EOF"); err != io.EOF {
		t.Errorf("the stream ended with %v", err)
	}
}

// TestWordsAreBounded: errors contain only a short part of the server's text. Their
// code is one of gRPC's codes.
func TestWordsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	for name, end := range map[string]func(*scriptedPeer, uint32){
		"grpc-message": func(p *scriptedPeer, id uint32) {
			// HEADERS and CONTINUATION: one frame is too small
			p.SendLongHeaders(id, "grpc-status", "7", "grpc-message", long)
		},
		"GOAWAY": func(p *scriptedPeer, _ uint32) {
			_ = p.WriteGoAway(0, http2.ErrCodeInternal, []byte(long[:16_000]))
			_ = p.Conn.Close()
		},
		"grpc-status": func(p *scriptedPeer, id uint32) {
			p.SendHeaders(id, true, "grpc-status", "4294967295", "grpc-message", "odd")
		},
		"no grpc-status": func(p *scriptedPeer, id uint32) {
			p.SendHeaders(id, true, "grpc-status", long[:15_000])
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := dialPeer(t, testConfig())
			s, h := p.open()
			end(p, s.wire.ID())
			err := waittest.Await(t, h.ended, "the end of the stream")
			if n := len(err.Error()); n > clip.Sentence+100 {
				t.Errorf("the error has %d bytes", n)
			}
			if code := status.Code(err); code > codes.Unauthenticated {
				t.Errorf("the code is %s, which is none", code)
			}
		})
	}
}

// TestTwoTableSizeUpdates: a header block may begin with two table size updates, even
// if the table is not empty after the first (RFC 7541, section 4.2).
func TestTwoTableSizeUpdates(t *testing.T) {
	p := dialPeer(t, testConfig())
	p.open() // adds content-type to the table
	for range 2 {
		s, h := p.unanswered()
		p.ResizeTable(100, 4096)
		p.sendAnswer(s.wire.ID())
		p.SendHeaders(s.wire.ID(), true, "grpc-status", "0")
		if err := h.wantEnd(t, "EOF"); err != io.EOF {
			t.Errorf("the stream ended with %v", err)
		}
	}
	p.wantAlive()
}
