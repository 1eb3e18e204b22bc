// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

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

// scriptedPeer is the server's end of a Conn, together with the Conn.
type scriptedPeer struct {
	*http2.Framer
	t        *testing.T
	c        *Conn
	conn     net.Conn
	draining chan struct{}
	ran      chan struct{} // closed when Run has returned

	mu     sync.Mutex
	block  bytes.Buffer
	encode *hpack.Encoder
}

// dialPeer returns a peer that has read the client's preface and sent settings.
func dialPeer(t *testing.T, cfg Config, settings ...http2.Setting) *scriptedPeer {
	t.Helper()
	p := silentPeer(t, cfg)
	must(t, p.WriteSettings(settings...))
	select {
	case <-p.c.ready:
	case <-time.After(hangTimeout):
		t.Fatal("the client does not take the server's settings")
	}
	must(t, p.c.Ready(t.Context()))
	p.want("SETTINGS ack", func(f http2.Frame) bool {
		s, ok := f.(*http2.SettingsFrame)
		return ok && s.IsAck()
	})
	return p
}

// silentPeer returns a peer that has not sent settings.
func silentPeer(t *testing.T, cfg Config) *scriptedPeer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	conn, err := l.Accept()
	must(t, err)
	must(t, conn.SetDeadline(time.Now().Add(hangTimeout)))
	p := &scriptedPeer{t: t, conn: conn, draining: make(chan struct{}), ran: make(chan struct{})}
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
	preface := make([]byte, len(http2.ClientPreface))
	_, err = io.ReadFull(conn, preface)
	must(t, err)
	if string(preface) != http2.ClientPreface {
		t.Fatalf("the client begins with %q", preface)
	}
	p.Framer = http2.NewFramer(conn, conn)
	p.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.encode = hpack.NewEncoder(&p.block)
	return p
}

// next returns the client's next frame that is not SETTINGS.
func (p *scriptedPeer) next() http2.Frame {
	p.t.Helper()
	f, err := p.ReadFrame()
	if err != nil {
		p.t.Fatalf("reading what the client says: %v", err)
	}
	return f
}

// want reads until is reports true, and returns that frame.
func (p *scriptedPeer) want(what string, is func(http2.Frame) bool) http2.Frame {
	p.t.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", what, err)
		}
		if is(f) {
			return f
		}
	}
}

// wantReset reads until stream is reset.
func (p *scriptedPeer) wantReset(stream uint32, code http2.ErrCode) {
	p.t.Helper()
	f := p.want("RST_STREAM", func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok }).(*http2.RSTStreamFrame)
	if f.StreamID != stream || f.ErrCode != code {
		p.t.Errorf("the client reset stream %d with %s, want %d with %s", f.StreamID, f.ErrCode, stream, code)
	}
}

// wantMessages reads n messages of a stream.
func (p *scriptedPeer) wantMessages(stream uint32, want ...string) {
	p.t.Helper()
	var got []byte
	for _, w := range want {
		for len(got) < prefixBytes || len(got) < prefixBytes+int(binary.BigEndian.Uint32(got[1:])) {
			f := p.want("DATA", func(f http2.Frame) bool {
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

// sendHeaders sends HEADERS. pairs are names and values.
func (p *scriptedPeer) sendHeaders(stream uint32, end bool, pairs ...string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	must(p.t, p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded(pairs...), EndStream: end, EndHeaders: true}))
}

// encoded returns a header block. The caller holds mu.
func (p *scriptedPeer) encoded(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		must(p.t, p.encode.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return p.block.Bytes()
}

// sendAnswer sends the headers of an answer whose stream continues.
func (p *scriptedPeer) sendAnswer(stream uint32) {
	p.t.Helper()
	p.sendHeaders(stream, false, ":status", "200", "content-type", "application/grpc")
}

// open opens a stream on which the client sends hello, and answers it.
func (p *scriptedPeer) open() (*Stream, *recorder) {
	p.t.Helper()
	h := newRecorder()
	s, err := p.c.Open(h)
	must(p.t, err)
	must(p.t, s.Send([]byte("hel"), []byte("lo"), false))
	p.want("HEADERS", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok })
	p.wantMessages(s.id, "hello")
	p.sendAnswer(s.id)
	return s, h
}

// wantAlive checks that a new stream works.
func (p *scriptedPeer) wantAlive() {
	p.t.Helper()
	s, h := p.open()
	must(p.t, p.WriteData(s.id, false, []byte(framed("still there"))))
	if got := waittest.Await(p.t, h.messages, "a message on another stream"); got != "still there" {
		p.t.Errorf("another stream got %q", got)
	}
	s.Cancel()
	p.wantReset(s.id, http2.ErrCodeCancel)
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

// text returns n bytes of varying text.
func text(n int) string {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.String()[:n]
}
