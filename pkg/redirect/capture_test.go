// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/netnstest"
)

// capture records everything that leaves a pod, on the devices of its router.
type capture struct {
	fd   int
	seen []netip.Addr     // destinations of IP packets, in order
	tcp  []netip.AddrPort // destinations of TCP segments
	syns []netip.AddrPort // destinations of SYNs from the pod
}

const (
	etherLength = 14   // struct ethhdr
	markerPort  = 4242 // a UDP datagram to the router with this port ends a capture
)

// capture starts to record on the router's devices, also on those that are added later.
func (p pod) capture(t *testing.T) *capture {
	t.Helper()
	c := &capture{fd: -1}
	var err error
	p.router.Do(t, func() {
		all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)) // htons
		if c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all)); err != nil {
			return
		}
		timeout := unix.NsecToTimeval(int64(hang))
		err = unix.SetsockoptTimeval(c.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	})
	t.Cleanup(func() {
		if c.fd >= 0 {
			_ = unix.Close(c.fd)
		}
	})
	if err != nil {
		t.Fatalf("capture: %v", err)
	}
	return c
}

// destinations ends the capture: it sends a marker from the pod, and returns the destinations
// of all packets that left before it.
func (p pod) destinations(t *testing.T, c *capture, f Family) []netip.Addr {
	t.Helper()
	router := netnstest.RouterAddress(netnstest.IPv4)
	if f == IPv6 {
		router = netnstest.RouterAddress(netnstest.IPv6)
	}
	conn, err := p.dial(t, "udp", netip.AddrPortFrom(router, markerPort))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("marker")); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 65536)
	for {
		n, err := unix.Read(c.fd, frame)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("the marker never came by, after packets to %v: %v", c.seen, err)
		}
		dst, port := parseFrame(frame[:n])
		if port == markerPort {
			return c.seen
		}
		if dst.IsValid() {
			c.seen = append(c.seen, dst)
			c.addSegment(frame[etherLength:n], dst)
		}
	}
}

// addSegment records the TCP segment of an IP packet without IPv6 extensions.
func (c *capture) addSegment(packet []byte, dst netip.Addr) {
	protocol, header, source := packet[6], 40, packet[8:24]
	if dst.Is4() {
		protocol, header, source = packet[9], int(packet[0]&15)*4, packet[12:16]
	}
	if protocol != unix.IPPROTO_TCP || len(packet) < header+20 || packet[0]>>4 != 4 && packet[0]>>4 != 6 {
		return
	}
	to := netip.AddrPortFrom(dst, binary.BigEndian.Uint16(packet[header+2:]))
	c.tcp = append(c.tcp, to)
	const syn, ack = 2, 16
	if from, _ := netip.AddrFromSlice(source); packet[header+13]&(syn|ack) == syn && (from == podAddress(IPv4) || from == podAddress(IPv6)) {
		c.syns = append(c.syns, to)
	}
}

// parseFrame reads the destination of an Ethernet frame, and its UDP port.
func parseFrame(frame []byte) (dst netip.Addr, udpPort uint16) {
	if len(frame) < etherLength {
		return dst, 0
	}
	packet := frame[etherLength:]
	switch binary.BigEndian.Uint16(frame[12:]) {
	case unix.ETH_P_IP:
		if len(packet) < 24 {
			return dst, 0
		}
		dst, _ = netip.AddrFromSlice(packet[16:20])
		if packet[9] == unix.IPPROTO_UDP {
			udpPort = binary.BigEndian.Uint16(packet[int(packet[0]&15)*4+2:])
		}
	case unix.ETH_P_IPV6:
		if len(packet) < 44 {
			return dst, 0
		}
		dst, _ = netip.AddrFromSlice(packet[24:40])
		if packet[6] == unix.IPPROTO_UDP {
			udpPort = binary.BigEndian.Uint16(packet[42:])
		}
	case unix.ETH_P_ARP:
		if len(packet) >= 28 {
			dst, _ = netip.AddrFromSlice(packet[24:28]) // the address whose hardware address is asked for
		}
	}
	return dst, udpPort
}

// forShoot returns the addresses that are of the shoot, of a probe or loopback.
func forShoot(all []netip.Addr) []netip.Addr {
	shoot := prefixes(shootCIDR(IPv4), shootCIDR(IPv6), "192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8", "::1/128")
	return slices.DeleteFunc(slices.Clone(all), func(a netip.Addr) bool {
		return !slices.ContainsFunc(shoot, func(p netip.Prefix) bool {
			return p.Contains(a) || p.Addr().Is6() && solicited(p, a)
		})
	})
}

// solicited reports whether a is the solicited-node multicast address of the targets of these
// tests (RFC 4291 2.7.1: their last 24 bits are 3:7).
func solicited(_ netip.Prefix, a netip.Addr) bool {
	return a == netip.MustParseAddr("ff02::1:ff03:7")
}

func TestNothingForTheShootLeavesThePod(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		c := p.capture(t)
		if err := p.sendUDP(t, shootTarget(f)); err != nil {
			t.Fatalf("the control experiment: without rules UDP leaves the pod: %v", err)
		}
		if got := forShoot(p.destinations(t, c, f)); len(got) == 0 {
			t.Fatalf("the control experiment saw nothing leave the pod, so this test would prove nothing: %v", c.seen)
		}

		c = p.capture(t)
		p.apply(t, configFor(shootCIDR(f)), b)
		p.rejects(t, f)
		// Without a sidecar, TCP is refused in the pod.
		if conn, err := p.dial(t, "tcp", shootTarget(f)); err == nil {
			conn.Close()
			t.Error("TCP without a sidecar succeeds")
		}
		// TCP and the probe, once the redirect is lost.
		p.iptables(t, f, b, "-t", "nat", "-F")
		began := time.Now()
		for _, to := range []netip.AddrPort{shootTarget(f), netip.AddrPortFrom(probeAddress(f), 20000)} {
			if conn, err := p.dial(t, "tcp", to); !isRefused(err) {
				if err == nil {
					conn.Close()
				}
				t.Errorf("TCP to %s without nat rules: %v, want a reset", to, err)
			}
		}
		if took := time.Since(began); took > hang/2 {
			t.Errorf("rejecting took %v, want it on the spot", took)
		}
		p.rejects(t, f)
		if got := forShoot(p.destinations(t, c, f)); len(got) > 0 {
			t.Errorf("traffic for the shoot left the pod: to %v", got)
		}
	})
}

func probeAddress(f Family) netip.Addr {
	if f == IPv4 {
		return netip.MustParseAddr("192.0.2.1")
	}
	return netip.MustParseAddr("2001:db8::1")
}

// rejects fails the test unless UDP and ping to the shoot end at once.
func (p pod) rejects(t *testing.T, f Family) {
	t.Helper()
	if err := p.sendUDP(t, shootTarget(f)); err == nil {
		t.Error("UDP to the shoot is not rejected")
	}
	began := time.Now()
	// -W is how long ping waits if no rule rejects it.
	out, err := p.Command("ping", "-n", "-c1", "-W", fmt.Sprint(int(hang.Seconds())), shootTarget(f).Addr().String()).CombinedOutput()
	if err == nil {
		t.Errorf("ping to the shoot is not rejected: %s", out)
	}
	if took := time.Since(began); took > hang/2 {
		t.Errorf("ping took %v to be rejected, want it on the spot: %s", took, out)
	}
}

// sendUDP sends a datagram and returns the error that comes back for it, at once or with the
// next call. The router itself never answers, so there is no error without a guard.
func (p pod) sendUDP(t *testing.T, to netip.AddrPort) error {
	t.Helper()
	conn, err := p.dial(t, "udp", to)
	if err != nil {
		return err
	}
	defer conn.Close()
	for range 2 { // the guard rejects the first, and the second gets its answer
		if _, err := conn.Write([]byte("for the shoot")); err != nil {
			return err
		}
	}
	return nil
}
