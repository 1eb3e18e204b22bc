// SPDX-License-Identifier: Apache-2.0

// Package wiretest is a server for tests of HTTP/2 clients. It sends frames that a test
// chooses, and expects others.
package wiretest

import (
	"bytes"
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

// Peer is the server's end of a connection.
type Peer struct {
	*http2.Framer
	T    testing.TB
	Conn net.Conn

	mu     sync.Mutex
	block  bytes.Buffer
	encode *hpack.Encoder
}

// Pair returns both ends of a TCP connection on loopback.
func Pair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	must(t, err)
	server, err = l.Accept()
	must(t, err)
	t.Cleanup(func() {
		_ = client.Close()
		_ = server.Close()
	})
	return client, server
}

// New returns a Peer on conn, which the client has taken into use. It has read the
// client's preface, and has not sent settings.
func New(t testing.TB, conn net.Conn) *Peer {
	t.Helper()
	must(t, conn.SetDeadline(time.Now().Add(waittest.Limit)))
	preface := make([]byte, len(http2.ClientPreface))
	_, err := io.ReadFull(conn, preface)
	must(t, err)
	if string(preface) != http2.ClientPreface {
		t.Fatalf("the client begins with %q", preface)
	}
	p := &Peer{Framer: http2.NewFramer(conn, conn), T: t, Conn: conn}
	p.Framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.encode = hpack.NewEncoder(&p.block)
	return p
}

// Next returns the client's next frame.
func (p *Peer) Next() http2.Frame {
	p.T.Helper()
	f, err := p.ReadFrame()
	if err != nil {
		p.T.Fatalf("reading what the client says: %v", err)
	}
	return f
}

// Want reads until is reports true, and returns that frame.
func (p *Peer) Want(what string, is func(http2.Frame) bool) http2.Frame {
	p.T.Helper()
	for {
		f, err := p.ReadFrame()
		if err != nil {
			p.T.Fatalf("waiting for %s: %v", what, err)
		}
		if is(f) {
			return f
		}
	}
}

// WantAck reads until the client has acknowledged settings.
func (p *Peer) WantAck() {
	p.T.Helper()
	p.Want("SETTINGS ack", func(f http2.Frame) bool {
		s, ok := f.(*http2.SettingsFrame)
		return ok && s.IsAck()
	})
}

// WantHeaders reads until the client sends HEADERS.
func (p *Peer) WantHeaders() *http2.MetaHeadersFrame {
	p.T.Helper()
	return p.Want("HEADERS", func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok }).(*http2.MetaHeadersFrame)
}

// WantData reads until the client sends DATA.
func (p *Peer) WantData() *http2.DataFrame {
	p.T.Helper()
	return p.Want("DATA", func(f http2.Frame) bool { _, ok := f.(*http2.DataFrame); return ok }).(*http2.DataFrame)
}

// WantReset reads until stream is reset.
func (p *Peer) WantReset(stream uint32, code http2.ErrCode) {
	p.T.Helper()
	f := p.Want("RST_STREAM", func(f http2.Frame) bool { _, ok := f.(*http2.RSTStreamFrame); return ok }).(*http2.RSTStreamFrame)
	if f.StreamID != stream || f.ErrCode != code {
		p.T.Errorf("the client reset stream %d with %s, want %d with %s", f.StreamID, f.ErrCode, stream, code)
	}
}

// WantGoAway reads until the client sends GOAWAY, and returns its code.
func (p *Peer) WantGoAway() http2.ErrCode {
	p.T.Helper()
	return p.Want("GOAWAY", func(f http2.Frame) bool { _, ok := f.(*http2.GoAwayFrame); return ok }).(*http2.GoAwayFrame).ErrCode
}

// SendHeaders sends HEADERS. pairs are names and values.
func (p *Peer) SendHeaders(stream uint32, end bool, pairs ...string) {
	p.T.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	must(p.T, p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: p.encoded(pairs...), EndStream: end, EndHeaders: true}))
}

// SendLongHeaders sends headers that end a stream, in as many frames as they need.
func (p *Peer) SendLongHeaders(stream uint32, pairs ...string) {
	p.T.Helper()
	const most = 16 << 10 // bytes in a frame
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := p.encoded(pairs...)
	first := rest[:min(len(rest), most)]
	rest = rest[len(first):]
	must(p.T, p.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: true, EndHeaders: len(rest) == 0}))
	for len(rest) > 0 {
		some := rest[:min(len(rest), most)]
		rest = rest[len(some):]
		must(p.T, p.WriteContinuation(stream, len(rest) == 0, some))
	}
}

// ResizeTable makes the next header block begin with these table size updates.
func (p *Peer) ResizeTable(sizes ...uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range sizes {
		p.encode.SetMaxDynamicTableSize(n)
	}
}

// encoded returns a header block. The caller holds mu.
func (p *Peer) encoded(pairs ...string) []byte {
	p.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		must(p.T, p.encode.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]}))
	}
	return p.block.Bytes()
}

// WantWindowUpdates reads WINDOW_UPDATEs of a stream, until their sum is n bytes.
// Stream 0 is the connection.
func (p *Peer) WantWindowUpdates(stream uint32, n int) {
	p.T.Helper()
	for got := 0; got < n; {
		f := p.Want("WINDOW_UPDATE", func(f http2.Frame) bool {
			w, ok := f.(*http2.WindowUpdateFrame)
			return ok && w.StreamID == stream
		}).(*http2.WindowUpdateFrame)
		got += int(f.Increment)
		if got > n {
			p.T.Fatalf("the client gives %d bytes back, want %d", got, n)
		}
	}
}

// WantNoWindowUpdate sends a ping, and checks that no WINDOW_UPDATE comes before the
// answer.
func (p *Peer) WantNoWindowUpdate() {
	p.T.Helper()
	must(p.T, p.WritePing(false, [8]byte{1}))
	p.Want("PING ack, and no WINDOW_UPDATE", func(f http2.Frame) bool {
		if w, ok := f.(*http2.WindowUpdateFrame); ok {
			p.T.Errorf("the client gives %d bytes of stream %d back", w.Increment, w.StreamID)
		}
		ping, ok := f.(*http2.PingFrame)
		return ok && ping.IsAck()
	})
}

// Text returns n bytes of varying text.
func Text(n int) string {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%d ", i)
	}
	return b.String()[:n]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
