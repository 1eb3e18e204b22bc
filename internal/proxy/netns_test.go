// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// target6 is a shoot address of the other family. stray is outside the shoot, but the
// rules of these tests redirect it too.
var (
	target6 = netip.MustParseAddrPort("[fd00:10::7]:9100")
	stray   = netip.MustParseAddrPort("198.51.100.1:443")
)

// pod is a harness inside a network namespace, with its own rules.
type pod struct {
	*harness
	ns  *netnstest.NS
	app net.Dialer // for the connections of apps
}

// startPod runs a Proxy in a namespace in which the shoot, stray and the probes are
// redirected to it. Only the tunnel is fake.
func startPod(t *testing.T, dialer *fakeDialer) *pod {
	t.Helper()
	netnstest.RequireRoot(t)
	p := &pod{ns: netnstest.New(t), app: net.Dialer{Timeout: hangGuard}}
	netnstest.Connect(t, p.ns, netnstest.New(t), netnstest.IPv4, netnstest.IPv6)
	p.redirect(t, "-A")
	// A probe that is not redirected is rejected, as by the guard of pkg/redirect.
	for _, probed := range append(probe.Targets(shoot(t)), probe.Inside(shoot(t))...) {
		iptables := "iptables"
		if probed.Addr().Is6() {
			iptables = "ip6tables"
		}
		p.ns.Run(t, iptables, "-w", "-A", "OUTPUT", "-d", probed.Addr().String(), "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
	}
	p.harness = start(t, dialer, target, func(proxy *Proxy) {
		for _, ln := range proxy.cfg.Listeners {
			ln.Close() // it is not in the namespace
		}
		p.ns.Do(t, func() {
			var err error
			proxy.cfg.Listeners, err = Listen(t.Context(), []netip.AddrPort{
				netip.MustParseAddrPort("127.0.0.1:14001"), netip.MustParseAddrPort("[::1]:14001"),
			}, options.SettingNames())
			if err != nil {
				t.Fatal(err)
			}
		})
		proxy.cfg.CheckInterval = 20 * time.Millisecond
		proxy.lookup = origdst.Lookup
		proxy.cfg.Check = func(ctx context.Context, target netip.AddrPort) (err error) {
			p.ns.Do(t, func() { err = probe.Check(ctx, target) })
			return err
		}
		proxy.socket = func(local, remote netip.AddrPort) (state sockdiag.State, err error) {
			p.ns.Do(t, func() { state, err = sockdiag.Lookup(local, remote) })
			return state, err
		}
	})
	close(p.settled)
	return p
}

// redirect adds (-A) or deletes (-D) the rules that lead to the sidecar.
func (p *pod) redirect(t *testing.T, action string) {
	t.Helper()
	set := shoot(t)
	for _, rule := range [][2]string{
		{"iptables", probe.Target4(set).Addr().String()},
		{"iptables", "100.64.0.0/12"},
		{"iptables", stray.Addr().String()},
		{"ip6tables", probe.Target6(set).Addr().String()},
		{"ip6tables", "fd00:10::/64"},
	} {
		p.ns.Run(t, rule[0], "-w", "-t", "nat", action, "OUTPUT", "-p", "tcp", "-d", rule[1], "-j", "REDIRECT", "--to-ports", "14001")
	}
}

// dial connects an app to destination, inside the pod.
func (p *pod) dial(destination string) (conn net.Conn, err error) {
	p.t.Helper()
	p.ns.Do(p.t, func() { conn, err = p.app.Dial("tcp", destination) })
	return conn, err
}

// connectTo calls dial, which must succeed.
func (p *pod) connectTo(destination string) *net.TCPConn {
	p.t.Helper()
	conn, err := p.dial(destination)
	if err != nil {
		p.t.Fatalf("the app cannot connect to %s: %v", destination, err)
	}
	p.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(hangGuard)); err != nil {
		p.t.Fatal(err)
	}
	return conn.(*net.TCPConn)
}

func TestInAPodConnectionsReachWhatTheAppsAskedFor(t *testing.T) {
	lead4, accept4 := tunnelTo(t)
	lead6, accept6 := tunnelTo(t)
	p := startPod(t, &fakeDialer{dial: map[netip.AddrPort]func(context.Context) (tunnel.Conn, error){target: lead4, target6: lead6}})
	for _, tt := range []struct {
		destination netip.AddrPort
		accept      func() *net.TCPConn
		multipath   bool
	}{
		{destination: target, accept: accept4},
		{destination: target6, accept: accept6},
		{destination: target, accept: accept4, multipath: true},
	} {
		p.app.SetMultipathTCP(tt.multipath)
		app := p.connectTo(tt.destination.String())
		far := tt.accept()
		exchange(t, app, far)
		// The app half-closes, and still gets the whole answer.
		if err := app.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(far, "the end of the answer"); err != nil {
			t.Fatal(err)
		}
		far.Close()
		if rest, err := io.ReadAll(app); err != nil || string(rest) != "the end of the answer" {
			t.Errorf("a half-closed app got %q, %v", rest, err)
		}
	}
}

func TestInAPodAnAppThatClosedDoesNotKeepItsTunnel(t *testing.T) {
	lead, accept := tunnelTo(t)
	p := startPod(t, dials(lead))
	app, far := p.connectTo(target.String()), accept()
	exchange(t, app, far)
	app.Close()
	if _, err := io.Copy(io.Discard, far); err != nil {
		t.Errorf("the target's connection did not end well: %v", err)
	}
	if line := p.line("connection closed"); line["reason"] != "app_closed" {
		t.Errorf("the kernel knows that the app has closed, but the log says %v", line)
	}
}

func TestInAPodWhatWasNotMeantForTheShootIsReset(t *testing.T) {
	for destination, reason := range map[string]tunnel.Reason{
		"127.0.0.1:14001": ReasonNotRedirected,
		"[::1]:14001":     ReasonNotRedirected,
		stray.String():    ReasonOutsideCIDRs,
	} {
		t.Run(destination, func(t *testing.T) {
			p := startPod(t, &fakeDialer{})
			// The reset can arrive before the app's connect returns.
			if app, err := p.dial(destination); err == nil {
				wantReset(t, app)
				app.Close()
			} else if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the app must see a reset, but sees %v", err)
			}
			if line := p.line("connection not made"); line["reason"] != string(reason) || line["level"] != "WARN" {
				t.Errorf("the log does not say why: %v", line)
			}
			p.wantValue(1, "proxy_client_dial_failures_total", "reason", string(reason))
		})
	}
}

func TestInAPodALostRedirectShows(t *testing.T) {
	p := startPod(t, &fakeDialer{})
	p.eventually("the redirect is seen to work", func() bool { return p.value("proxy_client_redirect_ok") == 1 })
	p.redirect(t, "-D")
	p.eventually("its loss is seen", func() bool { return p.value("proxy_client_redirect_ok") == 0 })
	if err := p.Ready(); err != nil {
		t.Errorf("/readyz does not cover the redirect, and says %v", err)
	}
	p.redirect(t, "-A")
	p.eventually("its recovery is seen", func() bool { return p.value("proxy_client_redirect_ok") == 1 })
	for _, message := range []string{"the redirect does not work, so apps cannot reach the shoot", "the redirect works again"} {
		lines := p.log.Lines(t, message)
		// The rules change one by one, so a single CIDR may be reported too.
		lines = slices.DeleteFunc(lines, func(line map[string]any) bool {
			return !slices.Contains(probe.Targets(shoot(t)), netip.MustParseAddrPort(line["probe"].(string)))
		})
		if len(lines) != 2 {
			t.Errorf("%d log lines %q, want one for each family:\n%s", len(lines), message, p.log)
		}
		for _, line := range lines {
			if text, _ := line["error"].(string); line["level"] == "ERROR" && !strings.Contains(text, "the nat rules are missing") {
				t.Errorf("the log sends the operator the wrong way: %s", text)
			}
		}
	}
	p.eventually("probes are counted", func() bool { return p.value("proxy_client_connections_total", "result", "probe") > 0 })
}

// Rules of other programs that take the shoot's traffic leave our rules and the probe
// address unchanged.
func TestInAPodARuleOfAnotherProgramShows(t *testing.T) {
	cidrs := map[string]string{"iptables": "100.64.0.0/12", "ip6tables": "fd00:10::/64"}
	for name, rule := range map[string][]string{
		"NOTRACK":  {"raw", "-j", "CT", "--notrack"},
		"DROP":     {"mangle", "-j", "DROP"},
		"REDIRECT": {"nat", "-p", "tcp", "-j", "REDIRECT", "--to-ports", "15001"},
	} {
		for iptables, shoot := range cidrs {
			t.Run(name+"/"+iptables, func(t *testing.T) {
				t.Parallel()
				p := startPod(t, &fakeDialer{})
				p.eventually("the redirect is seen to work", func() bool { return p.value("proxy_client_redirect_ok") == 1 })
				change := func(action string) {
					p.ns.Run(t, iptables, append([]string{"-w", "-t", rule[0], action, "OUTPUT", "-d", shoot}, rule[1:]...)...)
				}
				change("-I")
				p.eventually("the rule of another program is seen", func() bool { return p.value("proxy_client_redirect_ok") == 0 })
				change("-D")
				p.eventually("its end is seen", func() bool { return p.value("proxy_client_redirect_ok") == 1 })
				text, _ := p.line("the redirect does not work, so apps cannot reach the shoot")["error"].(string)
				if !strings.Contains(text, "rules of another program") {
					t.Errorf("the log sends the operator the wrong way: %s", text)
				}
			})
		}
	}
}
