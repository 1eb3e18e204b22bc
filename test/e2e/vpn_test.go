// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// udpEchoPort is the port of a UDP service at a pod, a service and a node of the shoot. It
// is the port that wantUDPRejected asks. At a closed port, an answer of the shoot would look
// like a rejection.
const udpEchoPort = 53

// vpnUID is an app of the pod that is to use the VPN.
const vpnUID = lab.AppUID + 1

// vpnRig is a pod with a VPN. Captures watch the VPN's device, and the device towards the
// seed.
type vpnRig struct {
	*rig
	t         *testing.T // of the whole test: the captures end with it
	vpn       *lab.VPN
	member    *lab.Member
	tun, eth0 *lab.Capture
}

// newVPNRig builds a lab whose pod reaches the shoot by a VPN, and proves that. The product
// is not started. Its controls are those of a pod without the product: without the VPN the
// shoot cannot be reached, and with it TCP, UDP and ping use its device.
func newVPNRig(t *testing.T) *vpnRig {
	t.Helper()
	r := &vpnRig{t: t, rig: newBareRig(t, lab.Options{})}
	r.echoUDP(t)
	var err error
	if r.vpn, err = r.StartVPN(); err != nil {
		t.Fatal(err)
	}
	if r.eth0, err = r.CapturePod(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.eth0.Close() })
	r.join(t)
	r.wantByVPN(t)
	return r
}

// join gives the pod the VPN's device, and a capture on it.
func (r *vpnRig) join(t *testing.T) {
	t.Helper()
	var err error
	if r.member, err = r.vpn.Join(r.Pod); err != nil {
		t.Fatal(err)
	}
	if r.tun, err = r.member.Capture(); err != nil {
		t.Fatal(err)
	}
	tun := r.tun
	r.t.Cleanup(func() { _ = tun.Close() })
}

// echoUDP answers datagrams to a pod, a service and a node of the shoot.
func (r *vpnRig) echoUDP(t *testing.T) {
	t.Helper()
	for _, f := range lab.DualStack.Each() {
		for _, addr := range kinds(f) {
			r.serveUDP(t, r.Shoot, owner{}, netip.AddrPortFrom(addr, udpEchoPort).String(), func(datagram []byte) []byte { return datagram })
		}
	}
}

// wantUDPAnswer sends datagrams to an address of the shoot until one is answered.
func (r *vpnRig) wantUDPAnswer(t *testing.T, addr netip.Addr) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	conn, err := r.Pod.DialContext(ctx, "udp", netip.AddrPortFrom(addr, udpEchoPort).String())
	if err != nil {
		t.Errorf("UDP to %s: %v", addr, err)
		return
	}
	defer conn.Close()
	err = lab.Poll(ctx, "a UDP answer of "+addr.String(), func(context.Context) error {
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, err := conn.Read(make([]byte, 16))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// used returns the protocols of the packets to the shoot that have left by a capture's
// device since the last call. Packets to the addresses in except do not count.
func (r *vpnRig) used(t *testing.T, c *lab.Capture, except ...netip.Addr) map[uint8]int {
	t.Helper()
	protocols := map[uint8]int{}
	for _, p := range r.captured(t, c) {
		if !slices.Contains(except, p.Dst) {
			protocols[p.Protocol]++
		}
	}
	return protocols
}

// wantQuiet expects that nothing to the shoot has left the pod since the last call, by
// neither device. Except are addresses whose connections have just used one: the last
// packet of a connection can leave after its app has ended.
func (r *vpnRig) wantQuiet(t *testing.T, what string, except ...netip.Addr) {
	t.Helper()
	for name, c := range map[string]*lab.Capture{"the VPN": r.tun, "the seed's network": r.eth0} {
		if used := r.used(t, c, except...); len(used) != 0 {
			t.Errorf("%s: packets to the shoot left the pod by %s, by their protocol: %v", what, name, used)
		}
	}
}

// wantByVPN expects that TCP, UDP and ping to the shoot use the VPN, and that the captures
// see it.
func (r *vpnRig) wantByVPN(t *testing.T) {
	t.Helper()
	for _, f := range lab.DualStack.Each() {
		icmp := uint8(syscall.IPPROTO_ICMP)
		if f == lab.IPv6 {
			icmp = syscall.IPPROTO_ICMPV6
		}
		for _, addr := range kinds(f) {
			r.wantHello(t, addr)
			r.wantUDPAnswer(t, addr)
			if _, err := r.Pod.Run(labtest.Context(t, hang), lab.Command{Path: "ping", Args: []string{"-n", "-c1", "-W", "10", addr.String()}}); err != nil {
				t.Errorf("ping by the VPN: %v", err)
			}
			used := r.used(t, r.tun)
			if used[syscall.IPPROTO_TCP] == 0 || used[syscall.IPPROTO_UDP] == 0 || used[icmp] == 0 {
				t.Errorf("TCP, UDP and ping to %s should use the VPN, and it saw %v", addr, used)
			}
		}
	}
	if used := r.used(t, r.eth0); len(used) != 0 {
		t.Errorf("packets to the shoot left by the seed's network beside the VPN: %v", used)
	}
}

// wantHello expects the shoot's answer to curl. Further arguments are curl's.
func (r *vpnRig) wantHello(t *testing.T, addr netip.Addr, args ...string) {
	t.Helper()
	args = append([]string{"-sS", lab.URL(addr, target.HTTPPort, "/")}, args...)
	result, err := r.app(labtest.Context(t, hang), nil, nil, "curl", args...)
	if err != nil || !strings.HasPrefix(result.Stdout, "hello from the shoot") {
		t.Errorf("curl %v: %q, %v", args, result.Stdout, err)
	}
}

// relayed counts the connections that the sidecar has relayed.
const relayed = `proxy_client_connections_total{result="relayed"}`

// wantByTunnel expects that TCP to the shoot uses the tunnel, also if the app has bound it
// to the VPN's device or address. UDP and ping are rejected. No packet uses the VPN.
func (r *vpnRig) wantByTunnel(t *testing.T) {
	t.Helper()
	// A connection is counted when it ends, up to two seconds after the app has closed it.
	eventually(t, "the earlier connections to end", func(ctx context.Context) error {
		m, err := r.SidecarMetrics(ctx)
		if active := m["proxy_client_connections_active"]; err == nil && active != 0 {
			err = fmt.Errorf("%v are open", active)
		}
		return err
	})
	before, made := r.metrics(t)[relayed], 0
	for _, f := range lab.DualStack.Each() {
		for _, addr := range kinds(f) {
			for _, bound := range [][]string{nil, {"--interface", r.member.Device}, {"--interface", "eth0"}} {
				r.wantHello(t, addr, bound...)
				made++
			}
			r.wantUDPRejected(t, addr)
			r.wantPingRejected(t, addr)
		}
	}
	eventually(t, "the sidecar to count the connections", func(ctx context.Context) error {
		m, err := r.SidecarMetrics(ctx)
		if got := m[relayed] - before; err == nil && got != float64(made) {
			err = fmt.Errorf("it relayed %v, want %d", got, made)
		}
		return err
	})
	r.wantQuiet(t, "with VPN and redirect")
}

// TestPodWithVPNAndRedirect: what docs/vpn.md says about a pod that has a VPN's route to
// the shoot and the redirect.
func TestPodWithVPNAndRedirect(t *testing.T) {
	t.Parallel()
	r := newVPNRig(t)
	for _, backend := range []string{"nft", "legacy"} {
		t.Run(backend, func(t *testing.T) {
			flag := "--iptables=" + backend
			r.apply(t, flag)
			r.start(t)
			t.Run("TCP uses the tunnel, UDP and ping are rejected", r.wantByTunnel)
			t.Run("verify and dump show it", func(t *testing.T) { r.testVerifyAndDump(t, flag) })
			t.Run("without the sidecar nothing uses the VPN", r.testNoFallback)
			t.Run("a device that comes later", func(t *testing.T) { r.testLaterDevice(t, flag) })
			t.Run("exclusions use the VPN", func(t *testing.T) { r.testExclusions(t, flag) })
			if _, err := r.InitRedirect(labtest.Context(t, hang), "clean", flag); err != nil {
				t.Fatal(err)
			}
			r.sidecar.Kill()
			t.Run("after clean all use the VPN", r.wantByVPN)
		})
	}
}

// report is what dump prints as JSON, as far as it is used here.
type report struct {
	Rules []struct {
		Table, Chain, Rule string
		Packets            uint64
	}
}

func (r *vpnRig) dump(t *testing.T) (d report) {
	t.Helper()
	text, err := r.InitRedirect(labtest.Context(t, hang), "dump", "--output=json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(text.Stdout), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// packets returns how many packets the rules of a chain with a text have matched.
func (d report) packets(table, chain, text string) (packets uint64) {
	for _, rule := range d.Rules {
		if rule.Table == table && rule.Chain == chain && strings.Contains(rule.Rule, text) {
			packets += rule.Packets
		}
	}
	return packets
}

// testVerifyAndDump: verify accepts a pod with a VPN. dump counts the redirected
// connection, and the rejected datagram.
func (r *vpnRig) testVerifyAndDump(t *testing.T, flag string) {
	if _, err := r.InitRedirect(labtest.Context(t, hang), "verify", flag); err != nil {
		t.Error(err)
	}
	before, addr := r.dump(t), lab.ShootPod(lab.IPv4, 1)
	r.wantHello(t, addr)
	r.wantUDPRejected(t, addr)
	after := r.dump(t)
	if n := after.packets("nat", "PROXY_CLIENT_OUTPUT", lab.PodCIDR(lab.IPv4)) - before.packets("nat", "PROXY_CLIENT_OUTPUT", lab.PodCIDR(lab.IPv4)); n != 1 {
		t.Errorf("dump counts %d redirected connections, want 1", n)
	}
	if n := after.packets("filter", "PROXY_CLIENT_GUARD", lab.PodCIDR(lab.IPv4)+" -j REJECT") - before.packets("filter", "PROXY_CLIENT_GUARD", lab.PodCIDR(lab.IPv4)+" -j REJECT"); n == 0 {
		t.Errorf("dump counts no rejected datagram: %+v", after)
	}
}

// testNoFallback: if the sidecar does not run, connections are refused. They do not use the
// VPN instead.
func (r *vpnRig) testNoFallback(t *testing.T) {
	r.sidecar.Kill()
	for _, f := range lab.DualStack.Each() {
		for _, addr := range kinds(f) {
			if conn, err := r.dial(labtest.Context(t, hang), addr, target.HTTPPort); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("without a sidecar a connection to %s gives %v, %v; want it refused", addr, conn, err)
			}
		}
	}
	r.wantQuiet(t, "without the sidecar")
	r.start(t)
}

// testLaterDevice: the VPN's device goes, and comes again after init-redirect has run, as
// if a sidecar of the VPN made it. TCP uses the tunnel all the time. Only what an app binds
// to the new device is dropped in the pod; verify names the device, and apply repairs it.
func (r *vpnRig) testLaterDevice(t *testing.T, flag string) {
	addr := lab.ShootPod(lab.IPv4, 1)
	if err := r.tun.Close(); err != nil {
		t.Error(err)
	}
	if err := r.member.Leave(); err != nil {
		t.Fatal(err)
	}
	r.wantHello(t, addr)
	r.wantUDPRejected(t, addr)
	if used := r.used(t, r.eth0); len(used) != 0 {
		t.Errorf("without the VPN's device packets to the shoot left by the seed's network: %v", used)
	}
	r.join(t)
	r.wantHello(t, addr)
	r.wantUDPRejected(t, addr)
	bound := []string{"-sS", "--interface", r.member.Device, "--connect-timeout", "1", lab.URL(addr, target.HTTPPort, "/")}
	if result, err := r.app(labtest.Context(t, hang), nil, nil, "curl", bound...); err == nil {
		t.Errorf("a connection bound to the later device was made: %q", result.Stdout)
	}
	if r.dump(t).packets("mangle", "PROXY_CLIENT_GUARD", "DROP") == 0 {
		t.Error("dump counts no dropped packet of the connection bound to the later device")
	}
	r.wantQuiet(t, "with the later device")
	result, err := r.InitRedirect(labtest.Context(t, hang), "verify", flag)
	if result.Code != 4 || !strings.Contains(result.Stdout+result.Stderr, r.member.Device) {
		t.Errorf("verify does not name %s: exit code %d, %v\n%s", r.member.Device, result.Code, err, result.Stdout)
	}
	r.apply(t, flag)
	r.wantByTunnel(t)
}

// testExclusions: what is excluded uses the VPN, with every protocol: a list of CIDRs, or
// an app's uid.
func (r *vpnRig) testExclusions(t *testing.T, flag string) {
	services := fmt.Sprintf("--exclude-cidr=%s,%s", lab.ServiceCIDR(lab.IPv4), lab.ServiceCIDR(lab.IPv6))
	r.sidecar.Kill() // it would refuse the probe of other CIDRs
	r.apply(t, flag, services, fmt.Sprint("--exclude-uid=", vpnUID))
	r.start(t, services)
	var used []netip.Addr // by the VPN, as they should
	for _, f := range lab.DualStack.Each() {
		service, pod := lab.ShootService(f), lab.ShootPod(f, 1)
		used = append(used, service)
		r.wantHello(t, service)
		r.wantUDPAnswer(t, service)
		if used := r.used(t, r.tun); used[syscall.IPPROTO_TCP] == 0 || used[syscall.IPPROTO_UDP] == 0 {
			t.Errorf("TCP and UDP to the excluded %s should use the VPN, and it saw %v", service, used)
		}
		r.wantHello(t, pod)
		r.wantUDPRejected(t, pod)
		r.wantQuiet(t, "beside an exclusion", used...)
		used = append(used, pod)
		for _, excluded := range []lab.Command{
			{Path: "curl", Args: []string{"-sS", lab.URL(pod, target.HTTPPort, "/")}},
			{Path: "bash", Args: []string{"-c", fmt.Sprintf("exec 3<>/dev/udp/%s/%d && echo hello from the shoot >&3 && timeout 20 head -n1 <&3", pod, udpEchoPort)}},
		} {
			excluded.UID = vpnUID
			if result, err := r.Pod.Run(labtest.Context(t, hang), excluded); err != nil || !strings.HasPrefix(result.Stdout, "hello from the shoot") {
				t.Errorf("the excluded uid: %q, %v", result.Stdout, err)
			}
		}
		if used := r.used(t, r.tun); used[syscall.IPPROTO_TCP] == 0 || used[syscall.IPPROTO_UDP] == 0 {
			t.Errorf("TCP and UDP of the excluded uid should use the VPN, and it saw %v", used)
		}
	}
	r.sidecar.Kill()
	r.apply(t, flag)
	r.start(t)
}
