// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// start runs a server on loopback until the context ends, and returns the channel with the
// result of Run.
func start(t *testing.T, ctx context.Context, handler http.Handler, most int) (*Server, <-chan error) {
	t.Helper()
	s, err := Listen("test", "127.0.0.1:0", &http.Server{Handler: handler, ReadHeaderTimeout: waittest.Limit}, most)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return s, ended
}

// request sends a request on a new connection, which the caller closes.
func request(t *testing.T, s *Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waittest.Limit)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	return conn
}

// refused reports whether nothing listens at the server's address any more.
func refused(s *Server) bool {
	conn, err := net.Dial("tcp", s.Addr().String())
	if err == nil {
		_ = conn.Close()
	}
	return err != nil
}

// TestAnAnswerThatIsBeingWrittenIsCompleted: the end of the context closes the listener,
// and Run returns nil after the answer.
func TestAnAnswerThatIsBeingWrittenIsCompleted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked, goOn := make(chan struct{}), make(chan struct{})
	s, ended := start(t, ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-goOn
		fmt.Fprint(w, "complete")
	}), 4)
	conn := request(t, s)
	waittest.Await(t, asked, "the request")
	cancel()
	waittest.Eventually(t, "the listener is closed", func() bool { return refused(s) })
	select {
	case err := <-ended:
		t.Errorf("Run ended before the answer: %v", err)
	default:
	}
	close(goOn)
	if err := waittest.Await(t, ended, "the end of Run"); err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if answer, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(answer), "complete") {
		t.Errorf("the answer is %q, and then %v", answer, err)
	}
}

// TestAClientThatDoesNotReadDelaysTheEndOnlyBriefly: its answer never ends, so the
// connection is closed.
func TestAClientThatDoesNotReadDelaysTheEndOnlyBriefly(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked, written := make(chan struct{}), make(chan error, 1)
	s, ended := start(t, ctx, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		var err error
		for err == nil { // more than all buffers hold
			_, err = w.Write(make([]byte, 1<<20))
		}
		written <- err
	}), 4)
	request(t, s)
	waittest.Await(t, asked, "the request")
	cancel()
	if err := waittest.Await(t, ended, "the end of Run"); err != nil {
		t.Errorf("Run ended with %v", err)
	}
	if err := waittest.Await(t, written, "the end of the answer"); err == nil {
		t.Error("an answer without an end was written")
	}
}

// TestConnectionsAreLimited: one connection too many closes an idle one.
func TestConnectionsAreLimited(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s, ended := start(t, ctx, http.NotFoundHandler(), 1)
	first := request(t, s)
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	second := request(t, s)
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("the newest connection gets no answer: %v", err)
	}
	if _, err := io.Copy(io.Discard, first); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("the first connection stays open: %v", err)
	}
	cancel()
	if err := waittest.Await(t, ended, "the end of Run"); err != nil {
		t.Errorf("Run ended with %v", err)
	}
}

// TestFailuresNameTheServer: the caller learns which server failed at which address.
func TestFailuresNameTheServer(t *testing.T) {
	s, err := Listen("status", "127.0.0.1:0", &http.Server{ReadHeaderTimeout: waittest.Limit}, 1)
	if err != nil {
		t.Fatal(err)
	}
	address := s.Addr().String()
	if _, err := Listen("admin", address, &http.Server{ReadHeaderTimeout: waittest.Limit}, 1); err == nil || !strings.HasPrefix(err.Error(), "admin: ") || !strings.Contains(err.Error(), address) {
		t.Errorf("an address in use: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !refused(s) {
		t.Error("a closed server still listens")
	}
	if err := s.Run(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "status: serve on "+address+": ") {
		t.Errorf("the listener is closed: %v", err)
	}
}
