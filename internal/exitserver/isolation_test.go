// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestStalledReaders: clients that do not read what their targets send delay no other
// stream of the same connection.
func TestStalledReaders(t *testing.T) {
	t.Parallel()
	full := make(chan struct{}, 8)
	source := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_ = conn.SetWriteDeadline(time.Now().Add(waittest.Limit))
		block := make([]byte, 64<<10)
		for sent := 0; ; sent += len(block) {
			if sent == 4<<20 { // the client's library has a window of 4 MiB for a stream
				full <- struct{}{}
			}
			if _, err := conn.Write(block); err != nil {
				return
			}
		}
	})
	e := newExit(t, allowLoopback, nil)
	client := e.connect(t, "app")
	for range 8 {
		open(t, client, source)
	}
	waittest.Await(t, full, "a full window")
	u := open(t, client, listenEcho(t))
	for range 100 {
		u.echo(t, "question")
	}
	if got := e.metric(t, "proxy_exit_streams_active"); got != 9 {
		t.Errorf("%v streams, want 9: nothing is reset", got)
	}
}

// TestStalledTargets: targets that do not read what their clients send delay no other
// stream of the same connection. What the exit holds for them is bounded.
func TestStalledTargets(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	sink := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_ = conn.SetReadBuffer(256 << 10)
		<-release
		_, _ = io.Copy(io.Discard, conn)
	})
	start := sync.OnceFunc(func() { close(release) })
	t.Cleanup(start)
	e := newExit(t, allowLoopback, func(c *Config) { c.Limits.Buffer = 1 << 20 })
	client := e.connect(t, "app")
	const uploads, size, block = 4, 8, 1 << 20 // twice what the kernel takes
	sent := make(chan int, uploads*size)
	var unfinished atomic.Int64
	unfinished.Store(uploads)
	for range uploads {
		u := open(t, client, sink)
		go func() {
			for range size {
				n, _ := u.send.Write(make([]byte, block))
				sent <- n
			}
			unfinished.Add(-1)
			_ = u.send.Close()
		}()
	}
	u := open(t, client, listenEcho(t))
	for range 200 {
		u.echo(t, "question")
	}
	if used := e.usage.memory.Used(); used > 1<<20 {
		t.Errorf("windows have grown by %d bytes, more than allowed", used)
	}
	if got := unfinished.Load(); got != uploads {
		t.Errorf("%d uploads wait for their targets, want %d", got, uploads)
	}
	start()
	for range uploads * size {
		if n := waittest.Await(t, sent, "more of an upload"); n != block {
			t.Errorf("an upload sent %d bytes, want %d", n, block)
		}
	}
	waittest.Eventually(t, "the end of the uploads", func() bool { return e.metric(t, "proxy_exit_close_total", "closed") == uploads })
	waittest.Eventually(t, "the release of all windows", func() bool { return e.usage.memory.Used() == 0 })
}

// TestDrain: a drain lets streams end, tells clients to make no further ones, and ends
// idle connections.
func TestDrain(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	waittest.Eventually(t, "the exit is ready", func() bool { return e.Ready() == nil })
	idle, busy := e.raw(t, "app"), e.connect(t, "app")
	target := listenEcho(t)
	u := open(t, busy, target)
	u.echo(t, "before")
	waittest.Eventually(t, "both connections", func() bool { return e.metric(t, "proxy_exit_connections_active") == 2 })
	done := make(chan error, 1)
	go func() { done <- e.stop() }()
	if code := waittest.Await(t, idle.ended, "the end of the idle connection"); code != 0 {
		t.Errorf("it has GOAWAY %v, want NO_ERROR", code)
	}
	if e.Ready() == nil {
		t.Error("the exit is ready during the drain")
	}
	if conn, err := net.Dial("tcp", e.address); err == nil {
		_ = conn.Close()
		t.Error("the exit accepts connections during the drain")
	}
	u.echo(t, "during")
	waittest.Eventually(t, "GOAWAY", func() bool { return !busy.CanTakeNewRequest() })
	_ = u.send.Close()
	if rest, err := io.ReadAll(u.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q and %v at the end", rest, err)
	}
	if err := waittest.Await(t, done, "the end of the drain"); err != nil {
		t.Error(err)
	}
}

// TestDrainTimeout: streams that do not end are reset, on both sides.
func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	})
	e := newExit(t, allowLoopback, func(c *Config) { c.DrainTimeout = 50 * time.Millisecond })
	u := open(t, e.connect(t, "app"), target)
	if err := e.stop(); err != nil {
		t.Error(err)
	}
	_, err := u.Body.Read(make([]byte, 1))
	if reset, ok := errors.AsType[http2.StreamError](err); err == nil || err == io.EOF || ok && reset.Code != http2.ErrCodeCancel {
		t.Errorf("the client sees %v, want a reset that does not blame the target", err)
	}
	if err := waittest.Await(t, ended, "the end of the target"); err == nil {
		t.Error("the target sees a clean end, want a reset")
	}
	if got := e.metric(t, "proxy_exit_close_total", "drained"); got != 1 {
		t.Errorf("%v streams were drained, want 1", got)
	}
}

// TestGivenUpDial: a client that gives up ends the dial.
func TestGivenUpDial(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, func(c *Config) { c.DialTimeout = time.Hour })
	client := e.raw(t, "app")
	if err := client.headers(1, connectBlock("silent.test:80")); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the dial", func() bool { return e.metric(t, "proxy_exit_streams_active") == 1 })
	if err := client.framer.WriteRSTStream(1, 8); err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "its end", func() bool { return e.metric(t, "proxy_exit_streams_active") == 0 })
	if got := e.metric(t, "proxy_exit_close_total", "client_reset"); got != 1 {
		t.Errorf("%v streams were reset by clients, want 1", got)
	}
}
