// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestSIGTERMUnderLoad: apps connect all the time. Each gets its whole exchange, or a
// refusal, or a reset. No app sees a clean end in place of an answer, and Run returns
// nil.
func TestSIGTERMUnderLoad(t *testing.T) {
	h := start(t, dials(echoing(t)), target, nil)
	close(h.settled)
	var completed atomic.Int64
	var apps sync.WaitGroup
	for range 16 {
		apps.Go(func() {
			for {
				err := ask(h.addr)
				if err == nil {
					completed.Add(1)
					continue
				}
				if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
					t.Errorf("an app saw %v, want its answer, a refusal or a reset", err)
				}
				return
			}
		})
	}
	h.eventually("there is load", func() bool { return completed.Load() >= 100 })
	h.cancel()
	h.wait(nil)
	apps.Wait()
	line := h.line("drained")
	if line["reset"] != 0.0 {
		t.Errorf("every connection could finish within the drain, but %v were reset", line["reset"])
	}
	if n := h.value("proxy_client_close_total", "reason", "drain") + h.value("proxy_client_close_total", "reason", "tunnel_broken"); n != 0 {
		t.Errorf("%v connections were broken", n)
	}
	h.wantValue(0, "proxy_client_connections_active")
}

// echoing returns a dial to a target that echoes until its client closes.
func echoing(t *testing.T) func(context.Context) (tunnel.Conn, error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		serving.Wait()
	})
	return func(ctx context.Context) (tunnel.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
		if err != nil {
			return nil, &tunnel.Error{Reason: tunnel.ReasonOther, Err: err}
		}
		return &fakeConn{TCPConn: conn.(*net.TCPConn)}, nil
	}
}

// ask runs one exchange of an app.
func ask(addr string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(hangGuard)); err != nil {
		return err
	}
	const question = "what is the time?"
	if _, err := io.WriteString(conn, question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if string(answer) != question {
		return fmt.Errorf("the answer is %q", answer)
	}
	return nil
}
