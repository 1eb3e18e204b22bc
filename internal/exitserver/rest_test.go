// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// slowTarget is a target that ends its own direction at once, and reads only after release.
// The kernel holds a few KiB for it.
type slowTarget struct {
	address string
	release func()
	read    chan int64 // how many bytes it has read, once
	result  chan error // of reading, once
}

func newSlowTarget(t *testing.T) *slowTarget {
	t.Helper()
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) }); failed != nil {
			return failed
		}
		return err
	}}
	listener, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	released := make(chan struct{})
	s := &slowTarget{
		address: listener.Addr().String(), release: sync.OnceFunc(func() { close(released) }),
		read: make(chan int64, 1), result: make(chan error, 1),
	}
	var task sync.WaitGroup
	task.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).CloseWrite()
		<-released
		n, err := io.Copy(io.Discard, conn)
		s.read <- n
		s.result <- err
	})
	t.Cleanup(func() { s.release(); _ = listener.Close(); task.Wait() })
	return s
}

// finishedUpload sends a whole upload to a target that does not read, waits until both
// directions of the stream have ended, and ends the client's connection. It returns the size.
func finishedUpload(t *testing.T, e *testExit, target string) int64 {
	t.Helper()
	r := e.rawEarly(t, "app") // its first window is larger than what the kernel takes
	if err := r.headers(1, connectBlock(target)); err != nil {
		t.Fatal(err)
	}
	if f := r.answer(t, 1); f.Header().Type != http2.FrameHeaders {
		t.Fatalf("the answer is %v", f)
	}
	for _, c := range e.all() {
		for _, s := range c.all() {
			s.mu.Lock()
			err := s.conn.SetWriteBuffer(4096)
			s.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	size := int64(0)
	for range 4 {
		block := make([]byte, 16<<10-1)
		size += int64(len(block))
		_ = r.framer.WriteData(1, false, block)
	}
	_ = r.framer.WriteData(1, true, nil)
	_ = r.framer.WritePing(false, [8]byte{})
	for pong, ended := false, false; !pong || !ended; {
		frame, err := r.framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		switch f := frame.(type) {
		case *http2.PingFrame:
			pong = f.IsAck() || pong
		case *http2.DataFrame:
			ended = f.StreamEnded() || ended
		}
	}
	_ = r.conn.Close()
	return size
}

// TestRestIsBounded: a finished upload to a target that does not read does not stay for ever
// after its client has gone.
func TestRestIsBounded(t *testing.T) {
	t.Parallel()
	target := newSlowTarget(t)
	e := newExit(t, allowLoopback, func(c *Config) { c.RestTimeout = 50 * time.Millisecond })
	size := finishedUpload(t, e, target.address)
	waittest.Eventually(t, "the end of the stream", func() bool { return e.metric(t, "proxy_exit_streams_active") == 0 })
	waittest.Eventually(t, "the end of the connection", func() bool { return e.metric(t, "proxy_exit_connections_active") == 0 })
	if got := e.metric(t, "proxy_exit_close_total", "client_gone"); got != 1 {
		t.Errorf("%v streams ended for it, want 1", got)
	}
	if used := e.usage.memory.Used(); used != 0 {
		t.Errorf("%d bytes of windows are left", used)
	}
	target.release()
	if n := waittest.Await(t, target.read, "the target's end"); n >= size {
		t.Errorf("the target got all %d bytes: it was no slow one", n)
	}
	if err := waittest.Await(t, target.result, "the target's end"); err == nil {
		t.Error("the target sees a clean end, want a reset")
	}
}

// TestRestArrives: a target that reads late gets all of a finished upload, although the
// client has gone meanwhile.
func TestRestArrives(t *testing.T) {
	t.Parallel()
	target := newSlowTarget(t)
	e := newExit(t, allowLoopback, func(c *Config) { c.RestTimeout = time.Hour })
	size := finishedUpload(t, e, target.address)
	c := e.all()[0]
	waittest.Await(t, c.http2.Ended(), "the end of the client's connection")
	target.release()
	if n := waittest.Await(t, target.read, "the upload"); n != size {
		t.Errorf("the target got %d bytes, want %d", n, size)
	}
	if err := waittest.Await(t, target.result, "the target's end"); err != nil {
		t.Errorf("the target sees %v, want a clean end", err)
	}
	waittest.Eventually(t, "a clean end", func() bool { return e.metric(t, "proxy_exit_close_total", "closed") == 1 })
}
