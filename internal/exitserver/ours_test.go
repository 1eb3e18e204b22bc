// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	contract "github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// connectOurs returns a connection of the sidecar's client.
func (e *testExit) connectOurs(t testing.TB, cfg h2connect.Config) *h2connect.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", e.address, e.clientTLS(e.certificate(t, "app")))
	if err != nil {
		t.Fatal(err)
	}
	client := h2connect.New(conn, nil, cfg)
	var running sync.WaitGroup
	running.Go(client.Run)
	t.Cleanup(func() { _ = client.Close(); running.Wait() })
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Limit)
	defer cancel()
	if err := client.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return client
}

// openOurs makes a stream to a target.
func openOurs(t testing.TB, client *h2connect.Conn, target string) *h2connect.Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waittest.Limit)
	defer cancel()
	s, err := client.Dial(ctx, target)
	if err != nil {
		t.Fatalf("dial %s: %v", target, err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// receiveAll returns everything up to the end of a stream, and the error there.
func receiveAll(s *h2connect.Stream) ([]byte, error) {
	var all []byte
	for {
		p, err := s.Receive()
		all = append(all, p...)
		if err != nil {
			return all, err
		}
	}
}

// TestOurClient: with the sidecar's client a stream carries what TCP does, in both
// directions.
func TestOurClient(t *testing.T) {
	t.Parallel()
	const size = 16 << 20
	data := make([]byte, size)
	_, _ = rand.Read(data)
	e := newExit(t, allowLoopback, nil)
	client := e.connectOurs(t, h2connect.Config{})
	if got := client.Limit(); got != 1<<14 {
		t.Errorf("the client knows the limit %d", got)
	}

	t.Run("bulk", func(t *testing.T) {
		s := openOurs(t, client, listenEcho(t))
		go func() { _ = s.Send(data); _ = s.CloseWrite() }()
		if got, err := receiveAll(s); err != io.EOF || !bytes.Equal(got, data) {
			t.Errorf("got %d bytes and %v", len(got), err)
		}
	})
	t.Run("the target ends first", func(t *testing.T) {
		arrived := make(chan []byte, 1)
		s := openOurs(t, client, listen(t, func(conn *net.TCPConn) {
			defer conn.Close()
			_, _ = io.WriteString(conn, "all")
			_ = conn.CloseWrite()
			got, _ := io.ReadAll(conn)
			arrived <- got
		}))
		if got, err := receiveAll(s); err != io.EOF || string(got) != "all" {
			t.Fatalf("got %q and %v", got, err)
		}
		if err := errors.Join(s.Send([]byte("after")), s.CloseWrite()); err != nil {
			t.Error(err)
		}
		if got := waittest.Await(t, arrived, "the upload"); string(got) != "after" {
			t.Errorf("the target got %q", got)
		}
	})
	for _, fin := range []bool{false, true} {
		t.Run("the target resets", func(t *testing.T) {
			told := make(chan struct{})
			s := openOurs(t, client, listen(t, func(conn *net.TCPConn) {
				if fin {
					_ = conn.CloseWrite()
				}
				<-told
				reset(conn)
			}))
			if fin {
				if _, err := s.Receive(); err != io.EOF {
					t.Fatalf("the FIN is %v", err)
				}
			}
			close(told)
			if _, err := s.Receive(); !errors.Is(err, contract.ErrReset) {
				t.Errorf("the reset is %v", err)
			}
		})
	}
	t.Run("the client resets", func(t *testing.T) {
		ended := make(chan error, 1)
		s := openOurs(t, client, listen(t, func(conn *net.TCPConn) {
			defer conn.Close()
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}))
		_ = s.Abort()
		if err := waittest.Await(t, ended, "the target's end"); err == nil {
			t.Error("the target sees a clean end, want a reset")
		}
	})
	t.Run("refused", func(t *testing.T) {
		_, err := client.Dial(t.Context(), "169.254.169.254:80")
		refusal, ok := errors.AsType[*h2connect.Refusal](err)
		if !ok || refusal.Status != 403 || refusal.ProxyError != string(ErrorIPProhibited) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("the end of the connection", func(t *testing.T) {
		s := openOurs(t, client, listenEcho(t))
		e.Abort()
		if _, err := s.Receive(); err == nil || err == io.EOF {
			t.Errorf("the end is %v", err)
		}
	})
}

// TestDrainOurClient: the sidecar's client hears of a drain at once, and its streams go on.
func TestDrainOurClient(t *testing.T) {
	t.Parallel()
	e := newExit(t, allowLoopback, nil)
	draining := make(chan struct{})
	client := e.connectOurs(t, h2connect.Config{Draining: func() { close(draining) }})
	s := openOurs(t, client, listenEcho(t))
	done := make(chan error, 1)
	go func() { done <- e.stop() }()
	waittest.Await(t, draining, "GOAWAY")
	if err := errors.Join(s.Send([]byte("during")), s.CloseWrite()); err != nil {
		t.Error(err)
	}
	if got, err := receiveAll(s); err != io.EOF || string(got) != "during" {
		t.Errorf("got %q and %v", got, err)
	}
	if err := waittest.Await(t, done, "the end of the drain"); err != nil {
		t.Error(err)
	}
}
