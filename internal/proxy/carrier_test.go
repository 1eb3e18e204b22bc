// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// fakeCarrier is a fakeConn that carries what TCP carries. RST is the target's reset.
type fakeCarrier struct{ *fakeConn }

func (c fakeCarrier) Traits() tunnel.Traits {
	return tunnel.Traits{Backpressure: true, HalfClose: true, Resets: true}
}

func (c fakeCarrier) CloseWrite() error { return c.TCPConn.CloseWrite() }

func (c fakeCarrier) Abort() error { return relay.Reset(c.TCPConn) }

func (c fakeCarrier) Receive() ([]byte, error) {
	p, err := c.fakeConn.Receive()
	if errors.Is(err, syscall.ECONNRESET) {
		err = errors.Join(tunnel.ErrReset, err)
	}
	return p, err
}

// carrierTo is like tunnelTo, with connections that carry what TCP carries.
func carrierTo(t *testing.T) (dial func(context.Context) (tunnel.Conn, error), accept func() *net.TCPConn) {
	t.Helper()
	plain, accept := tunnelTo(t)
	return func(ctx context.Context) (tunnel.Conn, error) {
		conn, err := plain(ctx)
		if err != nil {
			return nil, err
		}
		return fakeCarrier{conn.(*fakeConn)}, nil
	}, accept
}

// TestCarrier: what a way carries reaches the app and the target, and the counters. A
// target's reset is no failure of ours.
func TestCarrier(t *testing.T) {
	dial, accept := carrierTo(t)
	h := start(t, dials(dial), target, nil)
	app := h.connect()
	far := accept()
	exchange(t, app, far)
	if err := app.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, far); err != nil {
		t.Errorf("the target sees %v, want the app's end", err)
	}
	if _, err := far.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 6)
	if _, err := io.ReadFull(app, got); err != nil || string(got) != "answer" {
		t.Errorf("the app got %q, %v", got, err)
	}
	if err := relay.Reset(far); err != nil {
		t.Fatal(err)
	}
	wantReset(t, app)
	line := h.line("connection closed")
	if line["reason"] != "target_reset" || line["level"] != "INFO" || line["sent_bytes"] != 5.0 || line["received_bytes"] != 11.0 {
		t.Errorf("the log line is %v", line)
	}
	h.wantValue(1, "proxy_client_close_total", "reason", "target_reset")
	h.wantValue(5, "proxy_client_bytes_total", "direction", "to_target")
	h.wantValue(11, "proxy_client_bytes_total", "direction", "to_app")
	if failures := h.Failures(); len(failures) != 0 {
		t.Errorf("it is listed as a failure: %v", failures)
	}
}

// TestCarrierAborts: an app's reset, and the end of the drain, reset the target.
func TestCarrierAborts(t *testing.T) {
	dial, accept := carrierTo(t)
	h := start(t, dials(dial), target, nil)
	app, other := h.connect(), accept()
	exchange(t, app, other)
	if err := relay.Reset(app); err != nil {
		t.Fatal(err)
	}
	wantReset(t, other)
	h.line("connection closed")
	app, other = h.connect(), accept()
	exchange(t, app, other)
	h.Abort()
	wantReset(t, app)
	wantReset(t, other)
}
