// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/relay"
)

// socketOption returns a socket option of TCP, or SO_KEEPALIVE.
func socketOption(t *testing.T, conn syscall.Conn, level, option int) (value int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if cerr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, option) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	return value
}

func TestAcceptedConnectionsAreProbed(t *testing.T) {
	listeners, err := Listen(t.Context(), []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0"), netip.MustParseAddrPort("[::1]:0")}, options.SettingNames())
	if err != nil {
		t.Fatal(err)
	}
	for _, ln := range listeners {
		defer ln.Close()
		app, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer app.Close()
		conn, err := ln.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, tt := range []struct {
			name          string
			level, option int
			want          int
		}{
			{"SO_KEEPALIVE", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
			{"TCP_KEEPIDLE", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
			{"TCP_KEEPINTVL", unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 10},
			{"TCP_KEEPCNT", unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 6},
		} {
			if got := socketOption(t, conn, tt.level, tt.option); got != tt.want {
				t.Errorf("%s: %s of an accepted connection is %d, want %d: one that conntrack has lost stays for ever", ln.Addr(), tt.name, got, tt.want)
			}
		}
	}
}

// Connections that became idle together are not probed together: a machine that has to send
// thousands of probes at once drops most of them. sockio.SpreadIdle says more.
func TestConnectionsAreProbedAtDifferentTimes(t *testing.T) {
	lead, accept := tunnelTo(t)
	apps := make(chan syscall.Conn, 1)
	h := start(t, dials(lead), target, func(p *Proxy) {
		p.lookup = func(app syscall.Conn) (netip.AddrPort, error) {
			apps <- app
			return target, nil
		}
	})
	const connections = 60
	times := map[int]int{}
	for range connections {
		app, far := h.connect(), accept()
		exchange(t, app, far) // so the relay has begun
		idle := socketOption(t, <-apps, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		if idle < 40 || idle > 60 {
			t.Fatalf("a connection is probed after %d s, want 40 to 60", idle)
		}
		times[idle]++
	}
	// 60 random choices out of 21 differ less than that once in 10^15 runs.
	if len(times) < 9 {
		t.Errorf("%d connections are probed after %d different times (s: connections): %v", connections, len(times), times)
	}
}

// The app's end of such a connection does not reach us. Only a keepalive probe notices
// it.
func TestInAPodAConnectionThatConntrackLostIsFreed(t *testing.T) {
	for _, destination := range []netip.AddrPort{target, target6} {
		t.Run(destination.String(), func(t *testing.T) {
			lead, accept := tunnelTo(t)
			dialer := dials(lead)
			dialer.dial[target6] = lead
			p := startPod(t, dialer)
			p.idleTime = func() time.Duration { return time.Second }
			for _, ln := range p.cfg.Listeners {
				probeSoon(t, ln)
			}
			app, far := p.connectTo(destination.String()), accept()
			exchange(t, app, far)

			// The redirect is removed too. Otherwise the app's next packet would create
			// the entry again.
			p.redirect(t, "-D")
			p.ns.Do(t, func() {
				for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
					if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, everything{}); err != nil {
						t.Fatal(err)
					}
				}
			})
			if _, err := io.Copy(io.Discard, far); err != nil {
				t.Errorf("the target's connection did not end well: %v", err)
			}
			if line := p.line("connection closed"); line["reason"] != string(relay.AppReset) {
				t.Errorf("the log does not say that the app's side is gone: %v", line)
			}
			p.eventually("it is no longer active", func() bool { return p.value("proxy_client_connections_active") == 0 })
		})
	}
}

// probeSoon makes the kernel probe a listener's new connections after one second, and
// give up after another one. Shorter times are not possible.
func probeSoon(t *testing.T, ln *net.TCPListener) {
	t.Helper()
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, option := range []int{unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT} {
		if cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, 1) }); cerr != nil || err != nil {
			t.Fatal(cerr, err)
		}
	}
}

// everything matches all entries of conntrack.
type everything struct{}

func (everything) MatchConntrackFlow(*netlink.ConntrackFlow) bool { return true }
