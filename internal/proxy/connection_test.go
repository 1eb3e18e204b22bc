// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

func TestWhatMustNotBeDialledIsResetCountedAndLoggedOnce(t *testing.T) {
	own := netip.MustParseAddrPort("100.64.9.9:8090")
	tests := []struct {
		name        string
		destination string // empty: the lookup fails with err
		err         error
		reason      tunnel.Reason
		says        string
	}{
		{name: "not redirected", err: fmt.Errorf("looking: %w", origdst.ErrNotRedirected), reason: ReasonNotRedirected, says: "not redirected"},
		{name: "lookup fails", err: syscall.EBADF, reason: tunnel.ReasonOther, says: "bad file descriptor"},
		{name: "the listener itself", destination: "listener", reason: ReasonLoop, says: "own listener"},
		{name: "a proxy-server", destination: own.String(), reason: ReasonLoop, says: "is a proxy-server"},
		{name: "outside the shoot", destination: "198.51.100.1:443", reason: ReasonOutsideCIDRs, says: "in no shoot CIDR"},
		{name: "outside the shoot, IPv6", destination: "[2001:db8::2]:443", reason: ReasonOutsideCIDRs, says: "in no shoot CIDR"},
		{name: "excluded", destination: "100.64.0.53:53", reason: ReasonOutsideCIDRs, says: "or excluded"},
		{name: "the probe's address on another port", destination: "192.0.2.1:80", reason: ReasonOutsideCIDRs, says: "in no shoot CIDR"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := start(t, &fakeDialer{owns: own}, netip.AddrPort{}, func(p *Proxy) {
				p.lookup = func(syscall.Conn) (netip.AddrPort, error) {
					if tt.destination == "listener" {
						return netip.ParseAddrPort(p.cfg.Listeners[0].Addr().String())
					}
					if tt.err != nil {
						return netip.AddrPort{}, tt.err
					}
					return netip.MustParseAddrPort(tt.destination), nil
				}
			})
			app := h.connect()
			wantReset(t, app)
			line := h.line("connection not made")
			if line["level"] != "WARN" || line["reason"] != string(tt.reason) || line["source"] != app.LocalAddr().String() {
				t.Errorf("the log does not tell who was refused and why: %v", line)
			}
			if text, _ := line["error"].(string); !strings.Contains(text, tt.says) {
				t.Errorf("the log says %q, want a sentence with %q", text, tt.says)
			}
			h.wantValue(1, "proxy_client_dial_failures_total", "reason", string(tt.reason))
			h.wantValue(1, "proxy_client_connections_total", "result", "refused")
			h.eventually("it is no longer active", func() bool { return h.value("proxy_client_connections_active") == 0 })
		})
	}
}

func TestAFailedDialIsReset(t *testing.T) {
	requested := make(chan struct{})
	h := start(t, dials(func(context.Context) (tunnel.Conn, error) {
		<-requested
		return nil, &tunnel.Error{Reason: tunnel.ReasonRefused, Server: server, Err: errors.New("connection refused")}
	}), target, nil)
	app := h.connect()
	if _, err := app.Write([]byte("a request that nobody will read")); err != nil {
		t.Fatal(err)
	}
	close(requested)
	wantReset(t, app)
	got := h.line("connection not made")
	for _, volatile := range []string{"time", "duration_seconds", "dial_seconds", "source"} {
		if got[volatile] == nil {
			t.Errorf("the log line lacks %q", volatile)
		}
		delete(got, volatile)
	}
	want := map[string]any{
		"level": "WARN", "msg": "connection not made", "destination": target.String(), "server": server,
		"reason": "refused", "error": "through proxy-server " + server + ": connection refused",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log line of a failed dial (-want +got):\n%s", diff)
	}
	h.wantValue(1, "proxy_client_dial_failures_total", "reason", "refused")
	h.wantValue(1, "proxy_client_connections_total", "result", "failed")
	h.wantValue(0, "proxy_client_dial_duration_seconds")
	if failed := h.history.failed.Load(); failed != 1 {
		t.Errorf("the history has %d failures, want 1", failed)
	}
}

// waitForCancel returns a dial that ends with its context, like dialer.Dialer's.
func waitForCancel(began chan<- struct{}) func(context.Context) (tunnel.Conn, error) {
	return func(ctx context.Context) (tunnel.Conn, error) {
		began <- struct{}{}
		select {
		case <-ctx.Done():
		case <-time.After(hangGuard):
		}
		return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: server, Err: ctx.Err()}
	}
}

func TestAnAppThatGivesUpCancelsItsDial(t *testing.T) {
	for _, sends := range []string{"", "GET / HTTP/1.1\r\n\r\n"} {
		for _, closes := range []string{"reset", "close"} {
			if sends != "" && closes == "close" {
				continue // its bytes must be delivered; see below
			}
			t.Run(fmt.Sprintf("%s after %d bytes", closes, len(sends)), func(t *testing.T) {
				began := make(chan struct{}, 1)
				h := start(t, dials(waitForCancel(began)), target, nil)
				app := h.connect()
				if _, err := io.WriteString(app, sends); err != nil {
					t.Fatal(err)
				}
				<-began
				if closes == "reset" {
					if err := relay.Reset(app); err != nil {
						t.Fatal(err)
					}
				} else if err := app.Close(); err != nil {
					t.Fatal(err)
				}
				line := h.line("connection not made")
				if line["level"] != "INFO" || line["reason"] != "cancelled" || line["error"] != errAppGone.Error() {
					t.Errorf("that the app gave up is no failure of ours, and the log should say who did: %v", line)
				}
				h.wantValue(1, "proxy_client_connections_total", "result", "cancelled")
				h.wantValue(1, "proxy_client_dial_failures_total", "reason", "cancelled")
				if failed := h.history.failed.Load(); failed != 0 {
					t.Errorf("the history has %d failures, although the app gave up", failed)
				}
			})
		}
	}
}

// A dial may end before the app is watched.
func TestAnAppThatGaveUpGetsNoTunnelFromAFastDial(t *testing.T) {
	for name, end := range map[string]func(*net.TCPConn) error{"reset": relay.Reset, "close": (*net.TCPConn).Close} {
		t.Run(name, func(t *testing.T) {
			lead, accept := tunnelTo(t)
			began, goOn := make(chan struct{}), make(chan struct{})
			h := start(t, dials(func(ctx context.Context) (tunnel.Conn, error) {
				close(began)
				<-goOn
				return lead(context.WithoutCancel(ctx)) // faster than its cancellation
			}), target, nil)
			app := h.connect()
			<-began
			if err := end(app); err != nil {
				t.Fatal(err)
			}
			close(goOn)
			if _, err := io.Copy(io.Discard, accept()); err != nil {
				t.Errorf("the tunnel that nobody needs did not end well: %v", err)
			}
			if line := h.line("connection not made"); line["reason"] != "cancelled" || line["error"] != errAppGoneLate.Error() {
				t.Errorf("the log does not say that the app gave up: %v", line)
			}
			h.wantValue(1, "proxy_client_connections_total", "result", "cancelled")
		})
	}
}

// An app may finish sending long before its target is reached.
func TestAnAppThatOnlyFinishedSendingKeepsItsDial(t *testing.T) {
	tests := []struct {
		name, sends string
		closes      bool // close: it wants no answer, but its bytes must be delivered
	}{
		{name: "half-closed after a request", sends: "GET /\r\n"},
		{name: "half-closed before a byte", sends: ""},
		{name: "closed after a datum", sends: "metric 1\n", closes: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lead, accept := tunnelTo(t)
			began, goOn := make(chan struct{}), make(chan struct{})
			h := start(t, dials(func(ctx context.Context) (tunnel.Conn, error) {
				began <- struct{}{}
				<-goOn
				// No event shows that nothing happens, so the test only waits.
				select {
				case <-ctx.Done():
					t.Error("the dial of an app that only finished sending was cancelled")
				case <-time.After(2 * appAskInterval):
				}
				return lead(ctx)
			}), target, nil)
			app := h.connect()
			<-began
			if _, err := io.WriteString(app, tt.sends); err != nil {
				t.Fatal(err)
			}
			var err error
			if tt.closes {
				err = app.Close()
			} else if err = app.CloseWrite(); err == nil {
				awaitFinAcknowledged(t, app)
			}
			if err != nil {
				t.Fatal(err)
			}
			close(goOn)

			far := accept()
			got := make([]byte, len(tt.sends))
			if _, err := io.ReadFull(far, got); err != nil || string(got) != tt.sends {
				t.Fatalf("the target got %q, %v, want %q", got, err, tt.sends)
			}
			if tt.closes {
				return
			}
			if _, err := io.WriteString(far, "the answer"); err != nil {
				t.Fatal(err)
			}
			far.Close()
			if answer, err := io.ReadAll(app); err != nil || string(answer) != "the answer" {
				t.Fatalf("the app got %q, %v", answer, err)
			}
		})
	}
}

// awaitFinAcknowledged returns when the proxy's kernel has app's FIN.
func awaitFinAcknowledged(t *testing.T, app syscall.Conn) {
	t.Helper()
	raw, err := app.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	const finWait2 = 5 // in the enum of <net/tcp_states.h>
	for deadline := time.Now().Add(hangGuard); ; time.Sleep(time.Millisecond) {
		var info *unix.TCPInfo
		if cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
		if info.State == finWait2 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the FIN was not acknowledged, state %d", info.State)
		}
	}
}

func TestBytesPassBothWaysAndAreCounted(t *testing.T) {
	lead, accept := tunnelTo(t)
	h := start(t, dials(lead), target, nil)
	app := h.connect()
	far := accept()
	if _, err := io.WriteString(app, "question"); err != nil {
		t.Fatal(err)
	}
	question := make([]byte, len("question"))
	if _, err := io.ReadFull(far, question); err != nil {
		t.Fatalf("the question did not arrive: %v", err)
	}
	h.wantValue(1, "proxy_client_connections_active")
	if _, err := io.WriteString(far, "an answer"); err != nil {
		t.Fatal(err)
	}
	far.Close()
	answer, err := io.ReadAll(app)
	if err != nil || string(answer) != "an answer" {
		t.Fatalf("the app got %q, %v", answer, err)
	}
	app.Close()

	got := h.line("connection closed")
	for _, volatile := range []string{"time", "duration_seconds", "dial_seconds"} {
		if got[volatile] == nil {
			t.Errorf("the log line lacks %q", volatile)
		}
		delete(got, volatile)
	}
	want := map[string]any{
		"level": "INFO", "msg": "connection closed", "source": app.LocalAddr().String(), "destination": target.String(), "server": server,
		"reason": "target_closed", "sent_bytes": 8.0, "received_bytes": 9.0,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the log line of a good connection (-want +got):\n%s", diff)
	}
	h.wantValue(8, "proxy_client_bytes_total", "direction", "to_target")
	h.wantValue(9, "proxy_client_bytes_total", "direction", "to_app")
	h.wantValue(1, "proxy_client_connections_total", "result", "relayed")
	h.wantValue(1, "proxy_client_close_total", "reason", "target_closed")
	h.wantValue(1, "proxy_client_dial_duration_seconds")
	h.eventually("it is no longer active", func() bool { return h.value("proxy_client_connections_active") == 0 })
}

func TestABrokenTunnelIsAResetAndAWarning(t *testing.T) {
	lead, accept := tunnelTo(t)
	h := start(t, dials(lead), target, nil)
	app := h.connect()
	far := accept()
	exchange(t, app, far)
	if err := relay.Reset(far); err != nil {
		t.Fatal(err)
	}
	wantReset(t, app)
	if line := h.line("connection broken"); line["level"] != "WARN" || line["reason"] != "tunnel_broken" || line["error"] == nil {
		t.Errorf("the log does not say what broke: %v", line)
	}
	h.wantValue(1, "proxy_client_close_total", "reason", "tunnel_broken")
	h.wantValue(1, "proxy_client_connections_total", "result", "relayed")
}

func TestTheProbeIsAnsweredWithoutADialOrALogLine(t *testing.T) {
	probed := probe.Target4(shoot(t))
	h := start(t, &fakeDialer{}, probed, nil)
	answer, err := io.ReadAll(h.connect())
	if want := "shoot-proxy probe " + probed.String() + "\n"; err != nil || string(answer) != want {
		t.Fatalf("the probe got %q, %v, want %q", answer, err, want)
	}
	h.eventually("the probe is counted", func() bool { return h.value("proxy_client_connections_total", "result", "probe") == 1 })
	if log := h.log.String(); strings.Contains(log, "probe") || strings.Contains(log, "connection") {
		t.Errorf("a probe every half minute must not fill the log:\n%s", log)
	}
}
