// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// serveNode connects to the proxy of testdata/proxy.js.
func serveNode(t *testing.T) *Conn {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("SKIPPED: no node")
	}
	proxy := exec.Command("node", "testdata/proxy.js")
	proxy.Stderr = os.Stderr
	stdin, err := proxy.StdinPipe()
	must(t, err)
	stdout, err := proxy.StdoutPipe()
	must(t, err)
	must(t, proxy.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := proxy.Wait(); err != nil {
			t.Errorf("the proxy ended with %v", err)
		}
	})
	port, err := bufio.NewReader(stdout).ReadString('\n')
	must(t, err)
	client, err := net.Dial("tcp", "127.0.0.1:"+strings.TrimSpace(port))
	must(t, err)
	socket := http2wire.NewSocket(client)
	c := New(socket, socket, Config{})
	var running sync.WaitGroup
	running.Go(c.Run)
	t.Cleanup(func() {
		_ = c.Close()
		running.Wait()
	})
	must(t, c.Ready(t.Context()))
	return c
}

// TestAgainstNode: Node.js' http2, which is nghttp2, as proxy. Streams carry their bytes,
// half-closes and resets both ways.
func TestAgainstNode(t *testing.T) {
	c := serveNode(t)
	t.Run("many streams", func(t *testing.T) {
		target := listen(t, echo)
		var streams sync.WaitGroup
		for i := range uint64(20) {
			streams.Go(func() {
				s, err := c.Dial(t.Context(), target)
				if err != nil {
					t.Errorf("dial %d: %v", i, err)
					return
				}
				wantEcho(t, s, content(i, int(i*i*977)%400_000))
				must(t, s.Close())
			})
		}
		streams.Wait()
		waittest.Eventually(t, "the end of all streams", func() bool { return c.Streams() == 0 })
	})
	t.Run("a refused dial", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		must(t, l.Close())
		_, err = c.Dial(t.Context(), l.Addr().String())
		if got, ok := errors.AsType[*Refusal](err); !ok || *got != (Refusal{502, "connection_refused", "ECONNREFUSED"}) {
			t.Errorf("the dial ended with %v", err)
		}
	})
	t.Run("a half-close of the target", func(t *testing.T) {
		got := make(chan string, 1)
		s, err := c.Dial(t.Context(), listen(t, func(conn *net.TCPConn) {
			_ = conn.CloseWrite()
			p, _ := io.ReadAll(conn)
			got <- string(p)
		}))
		must(t, err)
		if r := waittest.Await(t, receive(s), "the target's end"); r.err != io.EOF {
			t.Fatalf("received %+v, want io.EOF", r)
		}
		must(t, s.Send([]byte("still sending")))
		must(t, s.CloseWrite())
		if p := waittest.Await(t, got, "what the target reads"); p != "still sending" {
			t.Errorf("the target read %q", p)
		}
		must(t, s.Close())
	})
	t.Run("a reset of the target", func(t *testing.T) {
		s, err := c.Dial(t.Context(), listen(t, func(conn *net.TCPConn) {
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.SetLinger(0)
		}))
		must(t, err)
		must(t, s.Send([]byte("x")))
		r := waittest.Await(t, receive(s), "the reset")
		if r.err == io.EOF { // Http2Stream.close ends its direction before it resets
			r = waittest.Await(t, receive(s), "the reset")
		}
		if !errors.Is(r.err, tunnel.ErrReset) {
			t.Errorf("received %q and %v, want ErrReset", r.text, r.err)
		}
		must(t, s.Close())
	})
	t.Run("a reset of ours", func(t *testing.T) {
		ended := make(chan error, 1)
		s, err := c.Dial(t.Context(), listen(t, func(conn *net.TCPConn) {
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}))
		must(t, err)
		must(t, s.Abort())
		if err := waittest.Await(t, ended, "the end at the target"); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the target's connection ended with %v, want a reset", err)
		}
	})
}
