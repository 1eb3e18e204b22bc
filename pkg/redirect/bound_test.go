// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// addDevice connects the pod and its router by one more device, such as eth1.
func (p pod) addDevice(t *testing.T, n int) (device string, sources map[Family]netip.Addr) {
	t.Helper()
	device = fmt.Sprint("eth", n)
	p.Run(t, "ip", "link", "add", device, "type", "veth", "peer", "name", fmt.Sprint("pod", n), "netns", p.router.Name)
	p.router.Run(t, "ip", "link", "set", fmt.Sprint("pod", n), "up")
	p.Run(t, "ip", "link", "set", device, "up")
	sources = map[Family]netip.Addr{
		IPv4: netip.MustParseAddr(fmt.Sprintf("10.98.%d.2", n)),
		IPv6: netip.MustParseAddr(fmt.Sprintf("fdcc:98:%d::2", n)),
	}
	p.Run(t, "ip", "address", "add", sources[IPv4].String()+"/24", "dev", device)
	p.Run(t, "ip", "address", "add", sources[IPv6].String()+"/64", "dev", device, "nodad")
	// Without a route over such a device, a socket that is bound to it cannot connect in
	// IPv6.
	p.Run(t, "ip", "-6", "route", "add", "default", "via", fmt.Sprintf("fdcc:98:%d::1", n), "dev", device, "metric", "4000")
	return device, sources
}

// dialBound connects like p.dial, with a socket that is bound to a device, to a source
// address, or to both.
func (p pod) dialBound(ctx context.Context, t *testing.T, network string, to netip.AddrPort, device string, source netip.Addr) (conn net.Conn, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, hang)
	defer cancel()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		if device == "" {
			return nil
		}
		var serr error
		err := c.Control(func(fd uintptr) { serr = unix.BindToDevice(int(fd), device) })
		return errors.Join(err, serr)
	}}
	if source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	p.Do(t, func() { conn, err = dialer.DialContext(ctx, network, to.String()) })
	return conn, err
}

func podAddress(f Family) netip.Addr {
	if f == IPv4 {
		return netnstest.PodAddress(netnstest.IPv4)
	}
	return netnstest.PodAddress(netnstest.IPv6)
}

// TestBoundSocketsAreRedirectedToo: a connection of a socket that is bound to a device or to
// an address is redirected like every other. Once the redirect is lost, it is rejected like
// every other.
func TestBoundSocketsAreRedirectedToo(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		eth1, sources := p.addDevice(t, 1)
		c := p.capture(t)
		p.apply(t, configFor(shootCIDR(f)), b)
		p.sidecar(t, f)
		ways := []struct {
			device string
			source netip.Addr
		}{
			{"eth0", netip.Addr{}},
			{eth1, netip.Addr{}},
			{"eth0", podAddress(f)},
			{eth1, sources[f]},
			{"", podAddress(f)},
			{"", sources[f]},
		}
		for _, way := range ways {
			conn, err := p.dialBound(t.Context(), t, "tcp", shootTarget(f), way.device, way.source)
			if err != nil {
				t.Errorf("TCP to the shoot bound to device %q and source %s: %v", way.device, way.source, err)
				continue
			}
			if got := readLine(t, conn); got != shootTarget(f).String() {
				t.Errorf("bound to %q and %s, the sidecar saw a connection to %q, want %s", way.device, way.source, got, shootTarget(f))
			}
			conn.Close()
		}
		if err := p.verify(t, configFor(shootCIDR(f)), b); err != nil {
			t.Error(err)
		}
		p.iptables(t, f, b, "-t", "nat", "-F")
		for _, way := range ways {
			if conn, err := p.dialBound(t.Context(), t, "tcp", shootTarget(f), way.device, way.source); !isRefused(err) {
				if err == nil {
					conn.Close()
				}
				t.Errorf("TCP bound to device %q and source %s without nat rules: %v, want a reset", way.device, way.source, err)
			}
		}
		for _, device := range []string{"eth0", eth1} {
			p.rejectsBound(t, f, device)
		}
		if got := forShoot(p.destinations(t, c, f)); len(got) > 0 {
			t.Errorf("traffic for the shoot left the pod: to %v", got)
		}
	})
}

// rejectsBound fails the test unless UDP and ping over a device are rejected.
func (p pod) rejectsBound(t *testing.T, f Family, device string) {
	t.Helper()
	conn, err := p.dialBound(t.Context(), t, "udp", shootTarget(f), device, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, first := conn.Write([]byte("x"))
	if _, second := conn.Write([]byte("x")); first == nil && second == nil {
		t.Errorf("UDP to the shoot bound to %s is not rejected", device)
	}
	// In IPv4 the kernel hands no ICMP error to a bound raw socket: raw_icmp_error
	// compares the socket's device with lo, by which the error came. So ping waits.
	if out, err := p.Command("ping", "-n", "-c1", "-I", device, "-W", "1", shootTarget(f).Addr().String()).CombinedOutput(); err == nil {
		t.Errorf("ping by %s is not rejected: %s", device, out)
	}
}

// TestBoundToALaterDeviceNeverLeavesThePod: a device that was added after apply has no route
// of ours. A connection that is bound to it fails, verify says so, and apply repairs it.
func TestBoundToALaterDeviceNeverLeavesThePod(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		cfg := configFor(shootCIDR(f))
		p.apply(t, cfg, b)
		p.sidecar(t, f)
		device, _ := p.addDevice(t, 2)
		c := p.capture(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			conn, err := p.dialBound(ctx, t, "tcp", shootTarget(f), device, netip.Addr{})
			if err == nil {
				conn.Close()
			}
			ended <- err
		}()
		for until := time.Now().Add(hang); p.dropped(t) == 0; {
			if time.Now().After(until) {
				t.Error("the guard of table mangle dropped nothing")
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("the connection was made; this test was for one that cannot be")
		}
		if got := forShoot(p.destinations(t, c, f)); len(got) > 0 {
			t.Errorf("a connection bound to a device that came later left the pod: to %v", got)
		}
		var found *VerifyError
		if err := p.verify(t, cfg, b); !errors.As(err, &found) || !strings.Contains(err.Error(), device) {
			t.Errorf("verify says nothing of %s, by which connections are dropped: %v", device, err)
		}
		p.apply(t, cfg, b)
		conn, err := p.dialBound(t.Context(), t, "tcp", shootTarget(f), device, netip.Addr{})
		if err != nil {
			t.Fatalf("apply again does not redirect what is bound to %s: %v", device, err)
		}
		conn.Close()
	})
}

// dropped returns how many packets the guard of table mangle dropped.
func (p pod) dropped(t *testing.T) (packets uint64) {
	t.Helper()
	report, err := Dump(t.Context(), p.options(t, BackendAuto))
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range report.Rules {
		if rule.Table == tableMangle && rule.Chain == ChainGuard {
			packets += rule.Packets
		}
	}
	return packets
}

// TestBoundToLoNeverLeavesThePod: what is bound to lo stays there, also in a pod that forwards
// packets.
func TestBoundToLoNeverLeavesThePod(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		p.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
			"net.ipv4.conf.all.route_localnet=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.lo.rp_filter=0")
		p.apply(t, configFor(shootCIDR(f)), b)
		c := p.capture(t)
		udp, err := p.dialBound(t.Context(), t, "udp", shootTarget(f), "lo", netip.Addr{})
		if err == nil {
			_, _ = udp.Write([]byte("for the shoot"))
			udp.Close()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if conn, err := p.dialBound(ctx, t, "tcp", shootTarget(f), "lo", netip.Addr{}); err == nil {
			conn.Close()
			t.Error("a connection bound to lo reaches the shoot")
		}
		if got := forShoot(p.destinations(t, c, f)); len(got) > 0 {
			t.Errorf("what was bound to lo left the pod: to %v", got)
		}
	})
}
