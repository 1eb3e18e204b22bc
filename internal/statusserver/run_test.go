// SPDX-License-Identifier: Apache-2.0

package statusserver

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
)

// hangGuard ends a test that would otherwise wait for ever.
const hangGuard = 20 * time.Second

// listenFor returns a server with no content that allows so many connections.
func listenFor(t *testing.T, connections int) *Server {
	t.Helper()
	server, err := Listen("127.0.0.1:0", Config{
		Documents: Documents{
			State:       func() status.State { return status.State{} },
			Connections: func() iter.Seq[status.Connection] { return func(func(status.Connection) bool) {} },
		},
		Drain: func(string) {}, Logger: slog.New(slog.DiscardHandler), Connections: connections,
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

// serve runs a server until end, which waits for it.
func serve(t *testing.T, server *Server) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("the server did not end cleanly: %v", err)
			}
		case <-time.After(hangGuard):
			t.Fatal("the server does not end")
		}
	}
}

func TestSilentClientsKeepNothing(t *testing.T) {
	const allowed = 4
	server := listenFor(t, allowed)
	end := serve(t, server)
	var silent []net.Conn
	for range 3 * allowed {
		conn, err := net.Dial("tcp", server.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: hangGuard}
	answer, err := client.Get("http://" + server.Addr().String() + "/state")
	if err != nil {
		t.Fatalf("a page beside silent clients: %v", err)
	}
	_ = answer.Body.Close()
	if err := silent[0].SetDeadline(time.Now().Add(hangGuard)); err != nil {
		t.Fatal(err)
	}
	if n, err := silent[0].Read(make([]byte, 1)); n > 0 || err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the oldest of too many connections is still open: %d, %v", n, err)
	}
	end()
}

// A profile ends with the sidecar, and may take longer than other answers.
func TestAProfileDoesNotKeepTheSidecarFromEnding(t *testing.T) {
	server := listenFor(t, 0)
	end := serve(t, server)
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// A trace sends its first bytes at once. It is longer than writeTimeout, which is
	// refused if the limit cannot be extended.
	fmt.Fprintf(conn, "GET /debug/pprof/trace?seconds=%d HTTP/1.1\r\nHost: localhost\r\n\r\n", 2*int(writeTimeout.Seconds()))
	if err := conn.SetReadDeadline(time.Now().Add(hangGuard)); err != nil {
		t.Fatal(err)
	}
	const ok = "HTTP/1.1 200"
	first := make([]byte, len(ok))
	if _, err := io.ReadFull(conn, first); err != nil || string(first) != ok {
		t.Fatalf("a long trace is answered with %q, %v", first, err)
	}
	end()
}

func TestAnAddressInUseIsNamed(t *testing.T) {
	taken := listenFor(t, 0)
	defer taken.Close()
	_, err := Listen(taken.Addr().String(), Config{Logger: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("the error does not name the address: %v", err)
	}
}
