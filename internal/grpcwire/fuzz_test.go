// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// scriptedConn is a connection to a server that sends the fuzzer's bytes, and reads
// everything.
type scriptedConn struct {
	net.Conn
	*bytes.Reader
	closed chan struct{}
	once   sync.Once
	opened chan struct{} // closed when the client's streams are open
}

// Read implements net.Conn. It returns what follows the settings only when the streams
// are open.
func (s *scriptedConn) Read(p []byte) (int, error) {
	if s.Len() == int(s.Size()) {
		return s.Reader.Read(p[:min(len(p), len(settings))])
	}
	select {
	case <-s.opened:
	case <-s.closed:
	}
	return s.Reader.Read(p[:min(len(p), 1000)])
}

// Write implements net.Conn.
func (s *scriptedConn) Write(p []byte) (int, error) { return len(p), nil }

// SetReadDeadline implements net.Conn.
func (*scriptedConn) SetReadDeadline(time.Time) error { return nil }

// Close implements net.Conn.
func (s *scriptedConn) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// countingHandler is a Handler that checks how it is called.
type countingHandler struct {
	t     *testing.T
	sum   int
	ended bool
}

// Message implements Handler.
func (c *countingHandler) Message(p []byte) {
	if c.ended {
		c.t.Error("a message behind the end")
	}
	c.sum += len(p)
}

// Arrived implements Handler.
func (*countingHandler) Arrived() {}

// End implements Handler.
func (c *countingHandler) End(err error) {
	if c.ended || err == nil {
		c.t.Errorf("End again, or without a reason: %v", err)
	}
	c.ended = true
}

// FuzzServer plays a server's bytes to a connection with two streams. Each stream ends
// once, and no handler gets more bytes than the server has sent.
func FuzzServer(f *testing.F) {
	frame := func(kind, flags byte, stream byte, payload string) string {
		return string([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, stream}) + payload
	}
	head := frame(1, 4, 1, "\x88\x5f\x10application/grpc") + frame(1, 4, 3, "\x88\xbe")
	for _, words := range []string{
		head + frame(0, 0, 1, framed("one")+framed("two")) + frame(0, 8, 3, "\x03"+framed("x")+"\x00\x00\x00"),
		head + frame(0, 0, 1, framed("cut")[:6]) + frame(0, 0, 3, framed("x")) + frame(0, 1, 1, "ut"),
		head + frame(6, 0, 0, "12345678") + frame(4, 0, 0, "\x00\x04\x00\x00\x00\x05") + frame(8, 0, 1, "\x00\x00\x00\x05"),
		head + frame(3, 0, 1, "\x00\x00\x00\x07") + frame(7, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"),
		frame(1, 0, 1, "\x88") + frame(9, 4, 1, "\x5f\x10application/grpc") + frame(1, 5, 1, "\x40\x0bgrpc-status\x010"),
		frame(1, 5, 1, "\x8d") + frame(5, 4, 1, "\x00\x00\x00\x02\x88") + "SSH-2.0",
	} {
		f.Add([]byte(words))
	}
	f.Fuzz(func(t *testing.T, words []byte) {
		conn := &scriptedConn{Reader: bytes.NewReader(append([]byte(settings), words...)), closed: make(chan struct{}), opened: make(chan struct{})}
		cfg := testConfig()
		cfg.MaxMessage = 1 << 10
		c := New(conn, nil, cfg)
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.Run()
		}()
		if err := c.Ready(t.Context()); err != nil {
			t.Fatalf("a server with settings is not taken for one: %v", err)
		}
		handlers := []*countingHandler{{t: t}, {t: t}}
		var sending sync.WaitGroup
		opened := 0
		for _, h := range handlers {
			s, err := c.Open(h)
			if err != nil {
				continue // the stream has ended already
			}
			opened++
			sending.Go(func() { _ = s.Send([]byte("hello"), make([]byte, 100), false) })
		}
		close(conn.opened)
		<-done
		sending.Wait()
		sum := 0
		for i, h := range handlers {
			sum += h.sum
			if i < opened && !h.ended {
				t.Errorf("stream %d of %d never ended", i, opened)
			}
		}
		if sum > len(words) {
			t.Errorf("the streams were told %d bytes of %d", sum, len(words))
		}
		if n := c.Streams(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}
