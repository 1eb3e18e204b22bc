// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"bytes"
	"context"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// hangTimeout limits waits that end at once if nothing is broken.
const hangTimeout = waittest.Limit

func testConfig() Config {
	return Config{StreamWindow: 256 << 10, ConnectionWindow: 16 << 20, MaxHeaders: 64 << 10}
}

// scriptedPeer is the server's end of a Conn, together with the Conn.
type scriptedPeer struct {
	*wiretest.Peer
	t        *testing.T
	c        *Conn
	draining chan struct{}
	ran      chan struct{} // closed when Run has returned
}

// dialPeer returns a peer that has read the client's preface and sent settings.
func dialPeer(t *testing.T, cfg Config, settings ...http2.Setting) *scriptedPeer {
	t.Helper()
	client, conn := wiretest.Pair(t)
	p := &scriptedPeer{t: t, draining: make(chan struct{}), ran: make(chan struct{})}
	cfg.Draining = func() { close(p.draining) }
	socket := NewSocket(client)
	p.c = New(socket, socket, cfg)
	go func() {
		defer close(p.ran)
		p.c.Run()
	}()
	t.Cleanup(func() {
		_ = p.c.Close()
		_ = conn.Close()
		waittest.Await(t, p.ran, "the end of Run")
	})
	p.Peer = wiretest.New(t, conn)
	must(t, p.WriteSettings(settings...))
	ctx, cancel := context.WithTimeout(t.Context(), hangTimeout)
	defer cancel()
	must(t, p.c.Ready(ctx))
	p.WantAck()
	return p
}

// greeting is what open sends on a stream.
const greeting = "hello, you"

// open opens a stream on which the client sends greeting, and answers it.
func (p *scriptedPeer) open() (*Stream, *recorder) {
	p.t.Helper()
	s, h := new(Stream), newRecorder()
	must(p.t, p.c.Open(s, h, []hpack.HeaderField{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: "x:1"}}, false))
	must(p.t, send(s, greeting))
	p.WantHeaders()
	if got := p.WantData(); string(got.Data()) != greeting || got.StreamID != s.id {
		p.t.Errorf("the client sent %q on stream %d", got.Data(), got.StreamID)
	}
	p.SendHeaders(s.id, false, ":status", "200")
	return s, h
}

// wantAlive checks that a new stream works.
func (p *scriptedPeer) wantAlive() {
	p.t.Helper()
	s, h := p.open()
	must(p.t, p.WriteData(s.id, false, []byte("still there")))
	if got := waittest.Await(p.t, h.data, "data on another stream"); got != "still there" {
		p.t.Errorf("another stream got %q", got)
	}
	s.Reset(http2.ErrCodeCancel)
	p.WantReset(s.id, http2.ErrCodeCancel)
}

func send(s *Stream, text string) error { return s.Send(&Payload{[]byte(text)}, false) }

// recorder is a Handler that records its calls.
type recorder struct {
	headers chan bool // whether they are trailers
	data    chan string
	closed  chan struct{} // END_STREAM
	ended   chan error
}

func newRecorder() *recorder {
	return &recorder{headers: make(chan bool, 10), data: make(chan string, 10_000), closed: make(chan struct{}, 2), ended: make(chan error, 2)}
}

// Headers implements Handler.
func (h *recorder) Headers(f *http2.MetaHeadersFrame, trailers bool) {
	h.headers <- trailers
	if f.StreamEnded() {
		h.closed <- struct{}{}
	}
}

// Data implements Handler.
func (h *recorder) Data(p []byte, _ int, end bool) {
	h.data <- string(p)
	if end {
		h.closed <- struct{}{}
	}
}

// Arrived implements Handler.
func (*recorder) Arrived() {}

// End implements Handler.
func (h *recorder) End(err error) { h.ended <- err }

// wantEnd checks that the stream ends once, with an error that contains words.
func (h *recorder) wantEnd(t *testing.T, words string) error {
	t.Helper()
	err := waittest.Await(t, h.ended, "the end of the stream")
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(words)) {
		t.Errorf("the stream ended with %v, want the words %q", err, words)
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
