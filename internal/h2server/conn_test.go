// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// peer is a client that a test writes by hand.
type peer struct {
	net.Conn
	*http2.Framer
	conn    *Conn
	served  chan *Stream // streams that Serve was called for
	release func()       // lets the handlers return
	result  chan error   // of Run
}

// newPeer connects a client, which knows the server's SETTINGS, to a server whose handler
// waits for release.
func newPeer(t *testing.T, change func(*Config)) *peer {
	t.Helper()
	p := newEarlyPeer(t, change)
	if err := p.WriteSettingsAck(); err != nil {
		t.Fatal(err)
	}
	return p
}

// newEarlyPeer is newPeer for a client that does not know the SETTINGS.
func newEarlyPeer(t *testing.T, change func(*Config)) *peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Conn: client, Framer: http2.NewFramer(client, client), served: make(chan *Stream, 100), result: make(chan error, 1)}
	released := make(chan struct{})
	p.release = sync.OnceFunc(func() { close(released) })
	p.AllowIllegalWrites = true
	cfg := Config{
		Serve:      func(s *Stream) { p.served <- s; <-released },
		MaxStreams: 10, Memory: NewMemory(1 << 20).NewShare(), StartTimeout: waittest.Limit, PingInterval: time.Hour, PingTimeout: time.Hour, WriteTimeout: waittest.Limit,
	}
	if change != nil {
		change(&cfg)
	}
	p.conn = New(server, NewSocket(server), cfg)
	go func() { p.result <- p.conn.Run() }()
	t.Cleanup(func() {
		p.release()
		p.conn.Close()
		_ = client.Close()
		waittest.Await(t, p.result, "the end of Run")
		p.result <- nil
	})
	_ = client.SetDeadline(time.Now().Add(waittest.Limit))
	if _, err := io.WriteString(client, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return p
}

// begin begins a stream with a CONNECT, and returns it.
func (p *peer) begin(t *testing.T, id uint32) *Stream {
	t.Helper()
	block := append([]byte{0x02, 7}, "CONNECT"...)
	block = append(append(block, 0x01, 4), "a:80"...)
	if err := p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}); err != nil {
		t.Fatal(err)
	}
	s := waittest.Await(t, p.served, "the stream")
	if s.Request != (Request{Method: "CONNECT", Authority: "a:80"}) {
		t.Fatalf("the request is %+v", s.Request)
	}
	return s
}

// next returns the next frame of a type.
func next[F http2.Frame](t *testing.T, p *peer) F {
	t.Helper()
	for {
		frame, err := p.ReadFrame()
		if err != nil {
			t.Fatalf("no %T: %v", *new(F), err)
		}
		if f, ok := frame.(F); ok {
			return f
		}
	}
}

// send sends p through a stream, as a handler does.
func send(s *Stream, p []byte) error {
	for len(p) > 0 {
		n, err := s.Reserve(len(p))
		if err != nil {
			return err
		}
		if err := s.Send(p[:n], n); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// TestMistakesOfStreams: each resets its stream with the right code, and the connection
// goes on.
func TestMistakesOfStreams(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	for i, tt := range []struct {
		name string
		send func(id uint32) error
		want http2.ErrCode
	}{
		{"more than the window", func(id uint32) error {
			return errors.Join(p.WriteData(id, false, make([]byte, firstWindow)), p.WriteData(id, false, []byte("x")))
		}, http2.ErrCodeFlowControl},
		{"DATA behind the end", func(id uint32) error {
			return errors.Join(p.WriteData(id, true, nil), p.WriteData(id, false, []byte("x")))
		}, http2.ErrCodeStreamClosed},
		{"trailers without an end", func(id uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: []byte{0x00, 1, 'a', 1, 'b'}, EndHeaders: true})
		}, http2.ErrCodeProtocol},
		{"a window too large", func(id uint32) error { return p.WriteWindowUpdate(id, largestWindow) }, http2.ErrCodeFlowControl},
		{"a window update of nothing", func(id uint32) error { return p.WriteWindowUpdate(id, 0) }, http2.ErrCodeProtocol},
	} {
		s := p.begin(t, uint32(2*i+1))
		if err := tt.send(s.id); err != nil {
			t.Fatal(err)
		}
		if f := next[*http2.RSTStreamFrame](t, p); f.StreamID != s.id || f.ErrCode != tt.want {
			t.Errorf("%s: stream %d was reset with %v, want %d and %v", tt.name, f.StreamID, f.ErrCode, s.id, tt.want)
		}
		for err := error(nil); err == nil; {
			if _, err = s.Receive(); err != nil && !errors.Is(err, ErrReset) {
				t.Errorf("%s: the handler gets %v", tt.name, err)
			}
		}
	}
}

// TestTrailersEndTheStream: a client may end its direction with trailers.
func TestTrailersEndTheStream(t *testing.T) {
	t.Parallel()
	p := newPeer(t, nil)
	s := p.begin(t, 1)
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x00, 1, 'a', 1, 'b'}, EndHeaders: true, EndStream: true})
	if _, err := s.Receive(); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

// TestTooManyStreams: a stream beyond the limit is refused, in a way that tells the client
// that it was not served. A slot is free only when its handler has returned.
func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(c *Config) { c.MaxStreams = 1 })
	p.begin(t, 1)
	_ = p.WriteRSTStream(1, http2.ErrCodeCancel)
	_ = p.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: []byte{0x02, 7, 'C', 'O', 'N', 'N', 'E', 'C', 'T', 0x01, 1, 'a'}, EndHeaders: true})
	if f := next[*http2.RSTStreamFrame](t, p); f.StreamID != 3 || f.ErrCode != http2.ErrCodeRefusedStream {
		t.Errorf("got %v", f)
	}
}

// TestSilentClient: a client that does not answer a PING is gone, and its streams fail. One
// that answers stays.
func TestSilentClient(t *testing.T) {
	t.Parallel()
	p := newPeer(t, func(c *Config) { c.PingInterval, c.PingTimeout = 20*time.Millisecond, 500*time.Millisecond })
	s := p.begin(t, 1)
	failed := make(chan error, 1)
	s.OnFailure(func(err error) { failed <- err })
	for range 3 {
		if err := p.WritePing(true, next[*http2.PingFrame](t, p).Data); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-failed:
		t.Fatalf("a client that answers is gone: %v", err)
	default:
	}
	if err := waittest.Await(t, failed, "the end of a silent client"); !errors.Is(err, ErrGone) {
		t.Errorf("its streams fail with %v", err)
	}
	p.release()
	err := waittest.Await(t, p.result, "the end of Run")
	if !errors.Is(err, errSilent) {
		t.Errorf("Run ends with %v", err)
	}
	p.result <- nil
}

// TestNoHTTP2: a client that speaks something else is told to go.
func TestNoHTTP2(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", http2.ClientPreface + "\x00\x00\x08\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		client, server := net.Pipe()
		c := New(server, nil, Config{Serve: func(*Stream) {}, MaxStreams: 1, Memory: NewMemory(0).NewShare(), StartTimeout: waittest.Limit, PingInterval: time.Hour, PingTimeout: time.Hour, WriteTimeout: waittest.Limit})
		result := make(chan error, 1)
		go func() { result <- c.Run() }()
		go func() { _, _ = io.WriteString(client, text) }()
		_, _ = io.Copy(io.Discard, client)
		if fault, ok := errors.AsType[*Fault](waittest.Await(t, result, "the end")); !ok || fault.Code != http2.ErrCodeProtocol {
			t.Errorf("%.10q: not a fault of the protocol", text)
		}
		_ = client.Close()
	}
}

// FuzzConn: whatever a client sends, the connection ends when the client does, and every
// handler returns.
func FuzzConn(f *testing.F) {
	seed := func(write func(*http2.Framer)) {
		var b bytes.Buffer
		framer := http2.NewFramer(&b, nil)
		_ = framer.WriteSettings()
		write(framer)
		f.Add(b.Bytes())
	}
	connect := []byte{0x02, 7, 'C', 'O', 'N', 'N', 'E', 'C', 'T', 0x01, 4, 'a', ':', '8', '0'}
	seed(func(w *http2.Framer) {
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connect, EndHeaders: true})
		_ = w.WriteData(1, false, []byte("hello"))
		_ = w.WriteWindowUpdate(1, 5)
		_ = w.WriteData(1, true, []byte("x"))
		_ = w.WritePing(false, [8]byte{})
	})
	seed(func(w *http2.Framer) {
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connect[:3]})
		_ = w.WriteContinuation(1, true, connect[3:])
		_ = w.WriteRSTStream(1, http2.ErrCodeCancel)
		_ = w.WriteGoAway(0, http2.ErrCodeNo, nil)
	})
	seed(func(w *http2.Framer) {
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: connect, EndHeaders: true, EndStream: true})
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
	})
	f.Fuzz(func(t *testing.T, frames []byte) {
		client, server := net.Pipe()
		memory := NewMemory(1 << 16)
		c := New(server, nil, Config{
			Serve: func(s *Stream) { // an echo
				if s.Request.Method != "CONNECT" {
					s.Refuse(405, nil)
					return
				}
				if s.Accept() != nil {
					return
				}
				for {
					p, err := s.Receive()
					if err != nil {
						_ = s.CloseWrite()
						return
					}
					if send(s, p) != nil {
						return
					}
				}
			},
			MaxStreams: 4, Memory: memory.NewShare(), StartTimeout: waittest.Limit, PingInterval: time.Hour, PingTimeout: time.Hour, WriteTimeout: waittest.Limit,
		})
		result := make(chan error, 1)
		go func() { result <- c.Run() }()
		read := make(chan struct{})
		go func() { defer close(read); _, _ = io.Copy(io.Discard, client) }()
		_, _ = client.Write(append([]byte(http2.ClientPreface), frames...))
		_ = client.Close()
		waittest.Await(t, result, "the end of Run")
		<-read
		if memory.Used() != 0 {
			t.Errorf("%d bytes of windows are left", memory.Used())
		}
	})
}
