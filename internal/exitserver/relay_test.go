// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestEcho: bytes go both ways, and the log line says how many.
func TestEcho(t *testing.T) {
	e := newExit(t, allowLoopback, nil)
	target := listenEcho(t)
	u := open(t, e.connect(t, "app"), target)
	if u.StatusCode != 200 {
		t.Fatalf("status %d, %v", u.StatusCode, u.Header)
	}
	u.echo(t, "hello")
	_ = u.send.Close()
	if rest, err := io.ReadAll(u.Body); err != nil || len(rest) > 0 {
		t.Fatalf("got %q and %v after the end", rest, err)
	}
	waittest.Eventually(t, "the line about the connection", func() bool { return len(e.log.Lines(t, "a connection has ended")) == 1 })
	line := e.log.Lines(t, "a connection has ended")[0]
	for key, want := range map[string]any{"client": "app", "destination": target, "reason": "closed", "to_target": 5.0, "to_client": 5.0} {
		if line[key] != want {
			t.Errorf("the line has %s %v, want %v", key, line[key], want)
		}
	}
	if got := e.metric(t, "proxy_exit_close_total", "closed"); got != 1 {
		t.Errorf("%v streams closed, want 1", got)
	}
}

// TestBulk: 64 MiB each way at once arrive whole.
func TestBulk(t *testing.T) {
	t.Parallel()
	const size = 64 << 20
	sent := make([]byte, size)
	_, _ = rand.Read(sent)
	arrived := make(chan []byte, 1)
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		go func() { _, _ = conn.Write(sent); _ = conn.CloseWrite() }()
		all, _ := io.ReadAll(conn)
		arrived <- all
	})
	e := newExit(t, allowLoopback, nil)
	u := open(t, e.connect(t, "app"), target)
	go func() { _, _ = u.send.Write(sent); _ = u.send.Close() }()
	got, err := io.ReadAll(u.Body)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("the client got %d bytes and %v, want %d", len(got), err, size)
	}
	if all := waittest.Await(t, arrived, "the upload"); !bytes.Equal(all, sent) {
		t.Errorf("the target got %d bytes, want %d", len(all), size)
	}
}

// TestHalfClose: the target answers only after the client's end.
func TestHalfClose(t *testing.T) {
	t.Parallel()
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		_, _ = conn.Write(append([]byte("got "), all...))
	})
	e := newExit(t, allowLoopback, nil)
	u := open(t, e.connect(t, "app"), target)
	_, _ = io.WriteString(u.send, "question")
	_ = u.send.Close()
	if answer, err := io.ReadAll(u.Body); err != nil || string(answer) != "got question" {
		t.Errorf("got %q and %v", answer, err)
	}
}

// TestTargetHalfClose: a target that has sent its last byte still gets what the client
// sends.
func TestTargetHalfClose(t *testing.T) {
	t.Parallel()
	arrived := make(chan []byte, 1)
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, _ = io.WriteString(conn, "all")
		_ = conn.CloseWrite()
		all, _ := io.ReadAll(conn)
		arrived <- all
	})
	e := newExit(t, allowLoopback, nil)
	u := open(t, e.connect(t, "app"), target)
	if all, err := io.ReadAll(u.Body); err != nil || string(all) != "all" {
		t.Fatalf("got %q and %v", all, err)
	}
	if _, err := io.WriteString(u.send, "after the end"); err != nil {
		t.Fatal(err)
	}
	_ = u.send.Close()
	if all := waittest.Await(t, arrived, "what the client sent"); string(all) != "after the end" {
		t.Errorf("the target got %q", all)
	}
}

// TestTargetReset: a target's reset is RST_STREAM with CONNECT_ERROR, also after its FIN,
// and its FIN is not.
func TestTargetReset(t *testing.T) {
	t.Parallel()
	for _, afterFIN := range []bool{false, true} {
		read := make(chan struct{})
		target := listen(t, func(conn *net.TCPConn) {
			_, _ = io.WriteString(conn, "part")
			if afterFIN {
				_ = conn.CloseWrite()
			}
			<-read
			reset(conn)
		})
		e := newExit(t, allowLoopback, nil)
		u := open(t, e.connect(t, "app"), target)
		part := make([]byte, 4)
		if _, err := io.ReadFull(u.Body, part); err != nil {
			t.Fatal(err)
		}
		if afterFIN { // the client has to learn of it before the reset
			if _, err := u.Body.Read(part); err != io.EOF {
				t.Fatalf("the FIN is %v for the client", err)
			}
		}
		close(read)
		var code http2.ErrCode
		if !afterFIN {
			_, err := u.Body.Read(part)
			failure, ok := errors.AsType[http2.StreamError](err)
			if !ok {
				t.Fatalf("the reset is %v for the client", err)
			}
			code = failure.Code
		} else {
			waittest.Eventually(t, "the end of what can be sent", func() bool {
				_, err := u.send.Write([]byte("x"))
				return err != nil
			})
			code = http2.ErrCodeConnect
		}
		if code != http2.ErrCodeConnect {
			t.Errorf("the reset has code %v", code)
		}
		waittest.Eventually(t, "the reason", func() bool { return e.metric(t, "proxy_exit_close_total", "target_reset") == 1 })
	}
}

// TestClientReset: RST_STREAM resets the target.
func TestClientReset(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	})
	e := newExit(t, allowLoopback, nil)
	u := open(t, e.connect(t, "app"), target)
	_ = u.Body.Close()
	if err := waittest.Await(t, ended, "the target's end"); err == nil {
		t.Error("the target saw a clean end, want a reset")
	}
	waittest.Eventually(t, "the reason", func() bool { return e.metric(t, "proxy_exit_close_total", "client_reset") == 1 })
}

// TestClientGone: if the client's connection breaks, the target is reset.
func TestClientGone(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	target := listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, err := io.Copy(io.Discard, conn)
		ended <- err
	})
	e := newExit(t, allowLoopback, nil)
	client, conn := e.connectBreakable(t, "app")
	open(t, client, target)
	_ = conn.Close()
	if err := waittest.Await(t, ended, "the target's end"); err == nil {
		t.Error("the target saw a clean end, want a reset")
	}
	waittest.Eventually(t, "the reason", func() bool { return e.metric(t, "proxy_exit_close_total", "client_gone") == 1 })
}
