// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// earlyDialer is a fakeDialer whose way carries early bytes.
type earlyDialer struct {
	*fakeDialer
	dial func(context.Context, tunnel.Early) (tunnel.Conn, error)
}

func (d earlyDialer) DialEarly(ctx context.Context, _ netip.AddrPort, _ tunnel.Hold, early tunnel.Early) (tunnel.Conn, error) {
	return d.dial(ctx, early)
}

// startEarly runs a Proxy with a dial that carries early bytes.
func startEarly(t *testing.T, dial func(context.Context, tunnel.Early) (tunnel.Conn, error)) *harness {
	t.Helper()
	return start(t, dials(nil), target, func(p *Proxy) { p.cfg.Dialer = earlyDialer{p.cfg.Dialer.(*fakeDialer), dial} })
}

// sendOn returns a send that writes to conn, and a channel that is closed thereafter.
func sendOn(t *testing.T, conn tunnel.Conn) (send func(p []byte) bool, sent <-chan struct{}) {
	done := make(chan struct{})
	return func(p []byte) bool {
		defer close(done)
		if err := conn.Send(p); err != nil {
			t.Errorf("send: %v", err)
		}
		return true
	}, done
}

// unsent returns how many bytes of the app the proxy's kernel does not have.
func unsent(t *testing.T, app *net.TCPConn) int {
	t.Helper()
	raw, err := app.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	n, err := sockio.Unsent(raw)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestEarlyBytes: the target gets what the app sends once, in order, whether it comes before
// or during the dial. The dial ends only after it was sent, so nothing else may send it.
func TestEarlyBytes(t *testing.T) {
	for _, during := range []bool{false, true} {
		open, accept := carrierTo(t)
		begin, begun := make(chan struct{}), make(chan struct{})
		h := startEarly(t, func(ctx context.Context, early tunnel.Early) (tunnel.Conn, error) {
			conn, err := open(ctx)
			if err != nil {
				return nil, err
			}
			send, sent := sendOn(t, conn)
			<-begin
			early.Begin(send)
			close(begun)
			waittest.Await(t, sent, "the app's first bytes")
			early.End()
			return conn, nil
		})
		app := h.connect()
		write := func(text string) {
			t.Helper()
			if _, err := io.WriteString(app, text); err != nil {
				t.Fatal(err)
			}
		}
		if during {
			close(begin)
			waittest.Await(t, begun, "the dial to ask")
			write("first ")
		} else {
			write("first ")
			h.eventually("the bytes have arrived", func() bool { return unsent(t, app) == 0 })
			close(begin)
		}
		far := accept()
		write("second")
		got := make([]byte, len("first second"))
		if _, err := io.ReadFull(far, got); err != nil || string(got) != "first second" {
			t.Errorf("the target got %q, %v", got, err)
		}
		_ = app.Close()
		if rest, err := io.ReadAll(far); err != nil || len(rest) != 0 {
			t.Errorf("then the target got %q, %v", rest, err)
		}
		_ = far.Close()
		if line := h.line("connection closed"); line["sent_bytes"] != 12.0 {
			t.Errorf("the log line is %v", line)
		}
		h.wantValue(12, "proxy_client_bytes_total", "direction", "to_target")
	}
}

// TestEarlyBytesAreKept: bytes that were not passed on stay for the relay.
func TestEarlyBytesAreKept(t *testing.T) {
	open, accept := carrierTo(t)
	h := startEarly(t, func(ctx context.Context, early tunnel.Early) (tunnel.Conn, error) {
		sent := make(chan string, 2)
		early.Begin(func(p []byte) bool { sent <- string(p); return true })
		if got := waittest.Await(t, sent, "the app's first bytes"); got != "hello" {
			t.Errorf("the dial sends %q", got)
		}
		early.End()
		early.TakeBack()
		early.Begin(func(p []byte) bool { sent <- string(p); return false }) // no room
		if got := waittest.Await(t, sent, "the same bytes"); got != "hello" {
			t.Errorf("the second dial sends %q", got)
		}
		early.End()
		return open(ctx)
	})
	app := h.connect()
	far := acceptHello(t, app, accept)
	got := make([]byte, 5)
	if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
		t.Errorf("the target got %q, %v", got, err)
	}
	exchange(t, app, far)
}

// acceptHello lets the app send, and accepts its tunnel.
func acceptHello(t *testing.T, app net.Conn, accept func() *net.TCPConn) *net.TCPConn {
	t.Helper()
	if _, err := io.WriteString(app, "hello"); err != nil {
		t.Fatal(err)
	}
	return accept()
}

// TestEarlyBytesOfAnAppThatLeaves: if the app resets its connection after its bytes were
// sent, the target's connection is reset.
func TestEarlyBytesOfAnAppThatLeaves(t *testing.T) {
	open, accept := carrierTo(t)
	h := startEarly(t, func(ctx context.Context, early tunnel.Early) (tunnel.Conn, error) {
		conn, err := open(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		send, sent := sendOn(t, conn)
		early.Begin(send)
		waittest.Await(t, sent, "the app's first bytes")
		early.End()
		waittest.Await(t, ctx.Done(), "the dial to be cancelled")
		return conn, nil
	})
	app := h.connect()
	far := acceptHello(t, app, accept)
	if _, err := io.ReadFull(far, make([]byte, len("hello"))); err != nil {
		t.Fatal(err)
	}
	if err := relay.Reset(app); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, far); err == nil {
		t.Error("the target sees a clean end, want a reset")
	}
	h.eventually("the connection counts as given up", func() bool {
		return h.value("proxy_client_connections_total", "result", "cancelled") == 1
	})
	h.wantValue(5, "proxy_client_bytes_total", "direction", "to_target")
	if line := h.line("connection not made"); line["sent_bytes"] != 5.0 || line["error"] != errAppGoneLate.Error() {
		t.Errorf("the log line is %v", line)
	}
}

// TestEarlyBytesOfAFailedDial: what was sent behind a dial counts, because the target may have
// it. What was taken back does not.
func TestEarlyBytesOfAFailedDial(t *testing.T) {
	for _, takenBack := range []bool{false, true} {
		h := startEarly(t, func(_ context.Context, early tunnel.Early) (tunnel.Conn, error) {
			sent := make(chan struct{})
			early.Begin(func([]byte) bool { close(sent); return true })
			waittest.Await(t, sent, "the app's first bytes")
			early.End()
			if takenBack {
				early.TakeBack()
			}
			return nil, &tunnel.Error{Reason: tunnel.ReasonExitUnreachable, Fault: tunnel.FaultServer, Err: errors.New("the tunnel broke")}
		})
		if _, err := io.WriteString(h.connect(), "hello"); err != nil {
			t.Fatal(err)
		}
		line := h.line("connection not made")
		sent, logged := 5.0, any(5.0)
		if takenBack {
			sent, logged = 0, nil
		}
		h.wantValue(sent, "proxy_client_bytes_total", "direction", "to_target")
		if line["sent_bytes"] != logged || h.history.sent.Load() != int64(sent) {
			t.Errorf("taken back %t: %d bytes are in the history, and the log line is %v", takenBack, h.history.sent.Load(), line)
		}
	}
}

// TestNoEarlyBytes: an app that sends nothing delays nothing, and is still watched.
func TestNoEarlyBytes(t *testing.T) {
	open, accept := carrierTo(t)
	h := startEarly(t, func(ctx context.Context, early tunnel.Early) (tunnel.Conn, error) {
		early.Begin(func([]byte) bool { t.Error("bytes of a silent app"); return false })
		early.End()
		return open(ctx)
	})
	app := h.connect()
	exchange(t, app, accept())

	h = startEarly(t, func(ctx context.Context, early tunnel.Early) (tunnel.Conn, error) {
		early.Begin(func([]byte) bool { t.Error("bytes of a silent app"); return false })
		defer early.End()
		waittest.Await(t, ctx.Done(), "the dial to be cancelled")
		return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: errors.New("cancelled")}
	})
	if err := relay.Reset(h.connect()); err != nil {
		t.Fatal(err)
	}
	h.eventually("the connection counts as given up", func() bool {
		return h.value("proxy_client_connections_total", "result", "cancelled") == 1
	})
}
