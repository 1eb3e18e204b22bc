// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestEndNeedsNoWindow: END_STREAM without data fits into any window, also into one that
// our SETTINGS have made negative (RFC 9113 6.9.1).
func TestEndNeedsNoWindow(t *testing.T) {
	t.Parallel()
	p := newEarlyPeer(t, nil)
	s := p.begin(t, 1)
	const sent = 2 * firstWindow
	_ = p.WriteData(1, false, make([]byte, firstWindow))
	_ = p.WriteData(1, false, make([]byte, firstWindow))
	_ = p.WriteSettingsAck()
	_ = p.WriteData(1, true, nil)
	got := 0
	for {
		b, err := s.Receive()
		got += len(b)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
	}
	if got != sent {
		t.Errorf("%d bytes arrived, want %d", got, sent)
	}
}

// TestGoAwayEnds: after GOAWAY the connection ends with its last stream, however that
// ends, and Run returns nil.
func TestGoAwayEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*peer, *Stream){
		"a reset":           func(p *peer, s *Stream) { _ = p.WriteRSTStream(s.id, http2.ErrCodeCancel) },
		"a malformed frame": func(p *peer, s *Stream) { _ = p.WriteWindowUpdate(s.id, 0) },
		"a mistake":         func(p *peer, s *Stream) { _ = p.WriteWindowUpdate(s.id, largestWindow) },
		"the handler":       func(p *peer, _ *Stream) { p.release() },
		"both ends": func(p *peer, s *Stream) {
			_ = s.CloseWrite()
			_ = p.WriteData(s.id, true, nil)
		},
		"a refusal": func(_ *peer, s *Stream) { s.Refuse(403, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, nil)
			s := p.begin(t, 1)
			p.conn.GoAway()
			for f := next[*http2.GoAwayFrame](t, p); f.LastStreamID != 1; {
				f = next[*http2.GoAwayFrame](t, p)
			}
			end(p, s)
			if name != "the handler" {
				if p, err := s.Receive(); err == nil {
					t.Fatalf("the handler got %q", p)
				}
				p.release()
			}
			err := waittest.Await(t, p.result, "the end of Run")
			p.result <- nil
			if err != nil {
				t.Errorf("Run ends with %v", err)
			}
		})
	}
}

// TestResetBeforeTheAnswer: CONNECT_ERROR is for connections to targets (RFC 9113 8.5), of
// which a stream without an answer has none.
func TestResetBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	for _, want := range []http2.ErrCode{http2.ErrCodeCancel, http2.ErrCodeConnect} {
		p := newPeer(t, nil)
		s := p.begin(t, 1)
		if want == http2.ErrCodeConnect {
			if err := s.Accept(); err != nil {
				t.Fatal(err)
			}
		}
		s.Reset()
		if f := next[*http2.RSTStreamFrame](t, p); f.ErrCode != want {
			t.Errorf("the reset has %s, want %s", f.ErrCode, want)
		}
	}
}

// TestEndOfClient: Run returns nil if the client ends the connection between two frames,
// and says so if it ends it within one, or if Close was called.
func TestEndOfClient(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		end  func(*peer)
		want error
	}{
		"between frames": {func(p *peer) { _ = p.Close() }, nil},
		"within a frame": {func(p *peer) { _, _ = p.Write([]byte{0, 0}); _ = p.Close() }, io.ErrUnexpectedEOF},
		"Close":          {func(p *peer) { p.conn.Close() }, ErrEnded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, nil)
			_ = p.WritePing(false, [8]byte{})
			next[*http2.PingFrame](t, p) // everything was read, so that the end is no reset
			tt.end(p)
			err := waittest.Await(t, p.result, "the end of Run")
			p.result <- nil
			if !errors.Is(err, tt.want) {
				t.Errorf("Run ends with %v, want %v", err, tt.want)
			}
		})
	}
}

// TestLargeHeader: a header that is too large gets an answer. REFUSED_STREAM would make the
// client try again.
func TestLargeHeader(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: "a:80"}, {Name: "x", Value: strings.Repeat("v", maxHeaderList)}} {
		_ = encoder.WriteField(field)
	}
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	s := waittest.Await(t, p.served, "the stream")
	if !s.Request.TooLarge {
		t.Errorf("the request is %+v", s.Request)
	}
}

// TestRefusalsThatAreNotRead: a client that asks on and on, and never reads the answers, is
// ended before they need much memory.
func TestRefusalsThatAreNotRead(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(c *Config) {
		c.Serve = func(s *Stream) {
			s.Refuse(403, []hpack.HeaderField{{Name: "proxy-status", Value: string(make([]byte, 200))}})
		}
		c.MaxStreams, c.WriteTimeout = 1000, time.Hour
	})
	block := append([]byte{0x02, 7}, "CONNECT"...)
	block = append(append(block, 0x01, 4), "a:80"...)
	_ = p.SetReadDeadline(time.Now()) // nothing is read
	const most = 1 << 16              // streams, whose answers have 14 MiB
	var over bool
	for id := uint32(1); !over; id += 2 {
		if id > 2*most {
			t.Fatal("the server goes on")
		}
		if p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil {
			break
		}
		if id%200 != 1 {
			continue
		}
		waittest.Eventually(t, "the answers, or the end", func() bool {
			p.conn.mu.Lock()
			defer p.conn.mu.Unlock()
			over = p.conn.err != nil
			if waiting := len(p.conn.out.pending); waiting > 1<<20 {
				t.Fatalf("%d bytes wait to be written", waiting)
			}
			return over || p.conn.lastID == id && p.conn.serving <= 1 // one writes
		})
	}
	err := waittest.Await(t, p.result, "the end of Run")
	p.result <- nil
	if fault, ok := errors.AsType[*Fault](err); !ok || fault.Code != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("Run ends with %v", err)
	}
}
