// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/http2wire/wiretest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// This file holds a server that sends scripted frames and expects others.

// hangTimeout limits waits that end at once if nothing is broken.
const hangTimeout = waittest.Limit

func testConfig() Config {
	return Config{
		Scheme: "https", Authority: "proxy:8090", Path: "/ProxyService/Proxy", UserAgent: "test",
		StreamWindow: 256 << 10, ConnectionWindow: 16 << 20, MaxMessage: 4 << 20, MaxHeaders: 64 << 10,
	}
}

// Values of HTTP/2 that the tests need (RFC 9113).
const (
	initialWindowBytes = 64<<10 - 1
	maxWindowBytes     = 1<<31 - 1
	lastStreamID       = 1<<31 - 1
	maxFrameBytes      = http2wire.MaxFrame
)

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
	p := silentPeer(t, cfg)
	must(t, p.WriteSettings(settings...))
	ctx, cancel := context.WithTimeout(t.Context(), hangTimeout)
	defer cancel()
	must(t, p.c.Ready(ctx))
	p.WantAck()
	return p
}

// silentPeer returns a peer that has not sent settings.
func silentPeer(t *testing.T, cfg Config) *scriptedPeer {
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
	return p
}

// wantMessages reads n messages of a stream.
func (p *scriptedPeer) wantMessages(stream uint32, want ...string) {
	p.t.Helper()
	var got []byte
	for _, w := range want {
		for len(got) < prefixBytes || len(got) < prefixBytes+int(binary.BigEndian.Uint32(got[1:])) {
			f := p.Want("DATA", func(f http2.Frame) bool {
				d, ok := f.(*http2.DataFrame)
				return ok && d.StreamID == stream
			}).(*http2.DataFrame)
			got = append(got, f.Data()...)
		}
		n := prefixBytes + int(binary.BigEndian.Uint32(got[1:]))
		if string(got[prefixBytes:n]) != w || got[0] != 0 {
			p.t.Errorf("the client sent %.60q, want %.60q", got[:n], w)
		}
		got = got[n:]
	}
	if len(got) > 0 {
		p.t.Errorf("the client sent %d bytes more", len(got))
	}
}

// sendAnswer sends the headers of an answer whose stream continues.
func (p *scriptedPeer) sendAnswer(stream uint32) {
	p.t.Helper()
	p.SendHeaders(stream, false, ":status", "200", "content-type", "application/grpc")
}

// open opens a stream on which the client sends hello, and answers it.
func (p *scriptedPeer) open() (*Stream, *recorder) {
	p.t.Helper()
	h := newRecorder()
	s, err := p.c.Open(h)
	must(p.t, err)
	must(p.t, s.Send([]byte("hel"), []byte("lo"), false))
	p.Want("HEADERS", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	p.wantMessages(s.wire.ID(), "hello")
	p.sendAnswer(s.wire.ID())
	return s, h
}

// wantAlive checks that a new stream works.
func (p *scriptedPeer) wantAlive() {
	p.t.Helper()
	s, h := p.open()
	must(p.t, p.WriteData(s.wire.ID(), false, []byte(framed("still there"))))
	if got := waittest.Await(p.t, h.messages, "a message on another stream"); got != "still there" {
		p.t.Errorf("another stream got %q", got)
	}
	s.Cancel()
	p.WantReset(s.wire.ID(), http2.ErrCodeCancel)
}

// framed returns a message with its prefix.
func framed(text string) string {
	return "\x00" + string(binary.BigEndian.AppendUint32(nil, uint32(len(text)))) + text
}

// recorder is a Handler that records its calls.
type recorder struct {
	messages  chan string
	arrived   chan struct{}
	ended     chan error
	onMessage func() // called by Message, or nil
}

func newRecorder() *recorder {
	return &recorder{messages: make(chan string, 10_000), arrived: make(chan struct{}, 10_000), ended: make(chan error, 2)}
}

// Message implements Handler.
func (h *recorder) Message(p []byte) {
	if h.onMessage != nil {
		h.onMessage()
	}
	h.messages <- string(p)
}

// Arrived implements Handler.
func (h *recorder) Arrived() { h.arrived <- struct{}{} }

// End implements Handler.
func (h *recorder) End(err error) { h.ended <- err }

// wantEnd checks that the stream ends once, with an error that contains words.
func (h *recorder) wantEnd(t *testing.T, words string) error {
	t.Helper()
	err := waittest.Await(t, h.ended, "the end of the stream")
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte(words)) {
		t.Errorf("the stream ended with %v, want the words %q", err, words)
	}
	select {
	case again := <-h.ended:
		t.Errorf("it ended again, with %v", again)
	default:
	}
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func text(n int) string { return wiretest.Text(n) }
