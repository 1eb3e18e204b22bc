// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// begin starts the drain and waits until it has begun.
func (h *harness) begin() {
	h.t.Helper()
	h.cancel()
	h.eventually("the drain has begun", func() bool { return h.Ready() != nil })
	if err := h.Ready(); err.Error() != "draining" {
		h.t.Errorf("/readyz would say %q, want draining", err)
	}
	if err := h.Live(); err != nil {
		h.t.Errorf("/livez would have a draining sidecar killed: %v", err)
	}
}

// wantRefused waits until the listener is closed. It makes no connection before that, because
// the proxy might accept it.
func (h *harness) wantRefused() {
	h.t.Helper()
	h.eventually("the listener is closed", func() bool {
		listener, err := net.Listen("tcp", h.addr)
		if err == nil {
			listener.Close()
		}
		return err == nil
	})
	if _, err := net.Dial("tcp", h.addr); !errors.Is(err, syscall.ECONNREFUSED) {
		h.t.Errorf("a new connection has %v, want ECONNREFUSED", err)
	}
}

func TestDrainLetsOpenConnectionsFinish(t *testing.T) {
	lead, accept := tunnelTo(t)
	h := start(t, dials(lead), target, nil)
	app, far := h.connect(), accept()
	exchange(t, app, far)
	h.begin()
	h.wantRefused()

	exchange(t, app, far)
	far.Close()
	if rest, err := io.ReadAll(app); err != nil || len(rest) > 0 {
		t.Errorf("the connection did not end well during the drain: %q, %v", rest, err)
	}
	app.Close()
	h.wait(nil)
	if line := h.line("drained"); line["reset"] != 0.0 {
		t.Errorf("nothing was left to reset, but the log says %v", line)
	}
	h.wantValue(1, "proxy_client_close_total", "reason", "target_closed")
	if h.Live() == nil || h.Ready() == nil {
		t.Error("an ended proxy seems alive")
	}
}

func TestWhatTheDrainFindsOpenAtItsEndIsReset(t *testing.T) {
	for _, ends := range []string{"timeout", "abort"} {
		t.Run(ends, func(t *testing.T) {
			lead, accept := tunnelTo(t)
			began := make(chan struct{}, 1)
			dialer := dials(lead)
			slow := netip.MustParseAddrPort("100.64.3.8:1")
			dialer.dial[slow] = waitForCancel(began)
			destinations := make(chan netip.AddrPort, 2)
			h := start(t, dialer, target, func(p *Proxy) {
				p.lookup = func(syscall.Conn) (netip.AddrPort, error) { return <-destinations, nil }
				if ends == "timeout" {
					p.cfg.DrainTimeout = 50 * time.Millisecond
				}
			})
			destinations <- target
			app := h.connect()
			exchange(t, app, accept())
			destinations <- slow
			dialling := h.connect()
			<-began

			h.begin()
			if ends == "abort" {
				h.Abort()
			}
			wantReset(t, app)
			wantReset(t, dialling)
			h.wait(nil)
			if line := h.line("drained"); line["reset"] != 2.0 {
				t.Errorf("two were left to reset, but the log says %v", line)
			}
			if line := h.line("connection broken"); line["reason"] != "drain" {
				t.Errorf("the log does not say why the open connection was reset: %v", line)
			}
			if line := h.line("connection not made"); line["reason"] != "cancelled" {
				t.Errorf("the log does not say why the dial ended: %v", line)
			}
			h.wantValue(1, "proxy_client_close_total", "reason", "drain")
			h.wantValue(1, "proxy_client_dial_failures_total", "reason", "cancelled")
		})
	}
}

func TestAbortEndsRunWithoutADrain(t *testing.T) {
	lead, accept := tunnelTo(t)
	h := start(t, dials(lead), target, nil)
	app := h.connect()
	exchange(t, app, accept())
	h.Abort()
	wantReset(t, app)
	h.wait(nil)
}

func TestAcceptWhileDraining(t *testing.T) {
	lead, accept := tunnelTo(t)
	h := start(t, dials(lead), target, func(p *Proxy) { p.cfg.AcceptWhileDraining = true })
	h.begin()
	// One after the other: the drain must not end when the first one ends.
	for range 2 {
		app, far := h.connect(), accept()
		exchange(t, app, far)
		far.Close()
		if _, err := io.Copy(io.Discard, app); err != nil {
			t.Errorf("a connection made during the drain broke: %v", err)
		}
		app.Close()
		h.eventually("the connection has ended", func() bool { return h.open.Load() == 0 })
	}
	app := h.connect()
	exchange(t, app, accept())
	h.Abort() // as the timeout would
	wantReset(t, app)
	h.wait(nil)
	h.wantRefused()
}

func TestRunFailsWhenAListenerIsTakenAway(t *testing.T) {
	h := start(t, &fakeDialer{}, target, nil)
	h.cfg.Listeners[0].Close()
	h.wait(net.ErrClosed)
}
