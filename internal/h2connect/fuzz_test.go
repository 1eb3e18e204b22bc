// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/quota"
)

// scriptedConn is a connection to a proxy that sends the fuzzer's bytes, and reads
// everything.
type scriptedConn struct {
	net.Conn
	*bytes.Reader
	closed chan struct{}
	once   sync.Once
	dialed chan struct{} // closed when the client's dials are under way
}

const settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// Read implements net.Conn. It returns what follows the settings only when the dials are
// under way.
func (s *scriptedConn) Read(p []byte) (int, error) {
	if s.Len() == int(s.Size()) {
		return s.Reader.Read(p[:min(len(p), len(settings))])
	}
	select {
	case <-s.dialed:
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

// FuzzProxy plays a proxy's bytes to a connection with two dials. Each dial ends, and each
// stream. No receiver gets more bytes than the proxy has sent, and nothing is left.
func FuzzProxy(f *testing.F) {
	frame := func(kind, flags byte, stream byte, payload string) string {
		return string([]byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, stream}) + payload
	}
	ok := frame(1, 4, 1, "\x88") + frame(1, 4, 3, "\x88")
	for _, words := range []string{
		ok + frame(0, 0, 1, "hello") + frame(0, 8, 3, "\x03x\x00\x00\x00") + frame(0, 1, 1, "") + frame(3, 0, 1, "\x00\x00\x00\x0a"),
		ok + frame(0, 1, 1, "hello") + frame(3, 0, 1, "\x00\x00\x00\x00") + frame(1, 5, 3, "\x40\x01a\x01b"),
		frame(1, 4, 1, "\x8e") + frame(0, 1, 1, "a body") + frame(1, 5, 3, "\x8d\x40\x0cproxy-status\x13x; error=dns_error;"),
		frame(1, 4, 1, "\x48\x03103") + ok + frame(6, 0, 0, "12345678") + frame(6, 1, 0, "\x00\x00\x00\x00\x00\x00\x00\x01"),
		frame(7, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00") + frame(1, 4, 1, "\x88") + frame(0, 0, 1, "x"),
		frame(4, 0, 0, "\x00\x04\x00\x00\x00\x05") + frame(3, 0, 3, "\x00\x00\x00\x07") + ok + frame(8, 0, 1, "\x00\x00\x00\x05"),
	} {
		f.Add([]byte(words))
	}
	f.Fuzz(func(t *testing.T, words []byte) {
		conn := &scriptedConn{Reader: bytes.NewReader(append([]byte(settings), words...)), closed: make(chan struct{}), dialed: make(chan struct{})}
		held := quota.New(1 << 20)
		c := New(conn, nil, Config{Quota: held, PingInterval: time.Hour, PingTimeout: time.Hour})
		var running, dials sync.WaitGroup
		running.Go(c.Run)
		if err := c.Ready(t.Context()); err != nil {
			t.Fatalf("a proxy with settings is not taken for one: %v", err)
		}
		var sums [2]int
		for i := range sums {
			began := make(chan struct{})
			dials.Go(func() {
				close(began)
				s, err := c.Dial(t.Context(), "10.0.0.1:80")
				if err != nil {
					return
				}
				sending := make(chan struct{})
				go func() {
					defer close(sending)
					_ = s.Send(make([]byte, 100))
					_ = s.CloseWrite()
				}()
				for ends := 0; ends < 2; {
					p, err := s.Receive()
					if sums[i] += len(p); err != nil {
						ends++
					}
				}
				<-sending
				_ = s.Close()
			})
			<-began
		}
		close(conn.dialed)
		running.Wait()
		dials.Wait()
		if sum := sums[0] + sums[1]; sum > len(words) {
			t.Errorf("%d bytes were received of %d", sum, len(words))
		}
		if n := c.Streams(); n != 0 || held.Held() != 0 || held.Promised() != 0 {
			t.Errorf("%d streams, %d bytes and %d bytes of growth are left", n, held.Held(), held.Promised())
		}
	})
}
