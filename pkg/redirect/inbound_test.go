// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
)

// shootPeer returns the address of a neighbour of the pod. A shoot CIDR contains it.
func shootPeer(f Family) netip.Addr {
	if f == IPv4 {
		return netip.MustParseAddr("100.64.9.9")
	}
	return netip.MustParseAddr("fd00:10::9:9")
}

// addPeer makes the router such a neighbour. The pod reaches it by its default route or, if
// onLink is set, as a neighbour whose hardware address it has to ask for.
func (p pod) addPeer(t *testing.T, f Family, onLink bool) {
	t.Helper()
	address := family.Host(shootPeer(f)).String()
	args := []string{"address", "add", address, "dev", "pod0"}
	if f == IPv6 {
		args = append(args, "nodad")
	}
	p.router.Run(t, "ip", args...)
	if onLink {
		p.Run(t, "ip", version(f), "route", "add", address, "dev", "eth0", "metric", "5")
	}
}

// serve echoes what TCP and UDP clients send to the pod's own address.
func (p pod) serve(t *testing.T, f Family) netip.AddrPort {
	t.Helper()
	at := netip.AddrPortFrom(podAddress(f), 8080)
	var tcp *net.TCPListener
	var udp *net.UDPConn
	var err error
	p.Do(t, func() {
		if tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err == nil {
			udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := tcp.AcceptTCP()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	serving.Go(func() {
		datagram := make([]byte, 2048)
		for {
			n, from, err := udp.ReadFromUDPAddrPort(datagram)
			if err != nil {
				return
			}
			_, _ = udp.WriteToUDPAddrPort(datagram[:n], from)
		}
	})
	t.Cleanup(func() {
		_, _ = tcp.Close(), udp.Close()
		serving.Wait()
	})
	return at
}

// fromPeer connects from the neighbour to the pod.
func (p pod) fromPeer(t *testing.T, network string, to netip.AddrPort) (conn net.Conn, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	from := netip.AddrPortFrom(shootPeer(family.Of(to.Addr())), 0)
	dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from)}
	if network == "udp" {
		dialer.LocalAddr = net.UDPAddrFromAddrPort(from)
	}
	p.router.Do(t, func() { conn, err = dialer.DialContext(ctx, network, to.String()) })
	return conn, err
}

// echoes fails the test unless the other end sends n bytes back.
func echoes(t *testing.T, conn net.Conn, n int, what string) {
	t.Helper()
	message, answer := bytes.Repeat([]byte("m"), n), make([]byte, n)
	_ = conn.SetDeadline(time.Now().Add(hang))
	if _, err := conn.Write(message); err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if _, err := io.ReadFull(conn, answer); err != nil {
		t.Errorf("%s: no answer: %v", what, err)
	}
}

// TestClientInsideTheShootIsAnswered: a client can have an address in a shoot CIDR, such as
// the kubelet of a node in an overlapping range. The pod's answers reach it.
func TestClientInsideTheShootIsAnswered(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		for _, onLink := range []bool{false, true} {
			p := dualStackPod(t)
			p.addPeer(t, f, onLink)
			at := p.serve(t, f)
			p.apply(t, configFor(shootCIDR(f)), b)
			p.sidecar(t, f)
			c := p.capture(t)

			tcp, err := p.fromPeer(t, "tcp", at)
			if err != nil {
				t.Fatalf("a client inside of the shoot's CIDR cannot connect (on link %v): %v", onLink, err)
			}
			defer tcp.Close()
			echoes(t, tcp, 20000, "TCP from inside of the shoot's CIDR")
			udp, err := p.fromPeer(t, "udp", at)
			if err != nil {
				t.Fatal(err)
			}
			defer udp.Close()
			echoes(t, udp, 100, "UDP from inside of the shoot's CIDR")

			closed := netip.AddrPortFrom(at.Addr(), 8081)
			if conn, err := p.fromPeer(t, "tcp", closed); !isRefused(err) {
				if err == nil {
					conn.Close()
				}
				t.Errorf("a closed port says %v to a client inside of the shoot's CIDR, want refused", err)
			}
			toClosed, err := p.fromPeer(t, "udp", closed)
			if err != nil {
				t.Fatal(err)
			}
			defer toClosed.Close()
			_, _ = toClosed.Write([]byte("x"))
			_ = toClosed.SetReadDeadline(time.Now().Add(hang))
			if _, err := toClosed.Read(make([]byte, 1)); !isRefused(err) {
				t.Errorf("a closed UDP port says %v to a client inside of the shoot's CIDR, want refused", err)
			}
			p.router.Run(t, "ping", "-n", "-c1", "-W", "20", "-I", shootPeer(f).String(), at.Addr().String())

			// A connection that begins in the pod is redirected nevertheless, also to
			// that address.
			p.reaches(t, shootTarget(f))
			p.reaches(t, netip.AddrPortFrom(shootPeer(f), 9100))
			p.rejects(t, f)
			p.destinations(t, c, f)
			if len(c.syns) > 0 || slices.Contains(c.seen, shootTarget(f).Addr()) {
				t.Errorf("what the pod began left it: SYNs to %v, all packets %v", c.syns, c.seen)
			}
		}
	})
}

// TestLostRulesAndConntrackNeverLeak: rules or conntrack entries are lost while connections
// are open in both directions. No packet of a connection that began in the pod leaves it, and
// a connection from outside goes on.
func TestLostRulesAndConntrackNeverLeak(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, pod, Backend, Family){
		"nat rules": func(t *testing.T, p pod, b Backend, f Family) { p.iptables(t, f, b, "-t", "nat", "-F") },
		"conntrack": func(t *testing.T, p pod, _ Backend, _ Family) { p.Run(t, "conntrack", "-F") },
		"both, rules first": func(t *testing.T, p pod, b Backend, f Family) {
			p.iptables(t, f, b, "-t", "nat", "-F")
			p.Run(t, "conntrack", "-F")
		},
		"both, conntrack first": func(t *testing.T, p pod, b Backend, f Family) {
			p.Run(t, "conntrack", "-F")
			p.iptables(t, f, b, "-t", "nat", "-F")
		},
		"both, and late packets are not picked up": func(t *testing.T, p pod, b Backend, f Family) {
			p.Run(t, "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_loose=0")
			p.iptables(t, f, b, "-t", "nat", "-F")
			p.Run(t, "conntrack", "-F")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // a connection whose other end is lost waits for its deadline
			onEach(t, func(t *testing.T, b Backend, f Family) {
				p := dualStackPod(t)
				p.addPeer(t, f, false)
				at := p.serve(t, f)
				p.apply(t, configFor(shootCIDR(f)), b)
				p.sidecar(t, f)
				in, err := p.fromPeer(t, "tcp", at)
				if err != nil {
					t.Fatal(err)
				}
				defer in.Close()
				echoes(t, in, 1000, "a connection from outside")
				out, err := p.dial(t, "tcp", shootTarget(f))
				if err != nil {
					t.Fatal(err)
				}
				defer out.Close()
				readLine(t, out)

				c := p.capture(t)
				lose(t, p, b, f)
				if name != "both, and late packets are not picked up" {
					echoes(t, in, 1000, "a connection from outside, after the loss")
				}
				// Both its data and its FIN.
				_, _ = out.Write([]byte("for the shoot"))
				_, _ = out.Write([]byte("for the shoot"))
				_ = out.Close()
				if conn, err := p.dial(t, "tcp", shootTarget(f)); err == nil {
					conn.Close() // only conntrack is lost: the redirect is still there
				} else if name == "conntrack" || !isRefused(err) {
					t.Errorf("a new connection to the shoot: %v", err)
				}
				p.rejects(t, f)
				p.destinations(t, c, f)
				if slices.Contains(c.seen, shootTarget(f).Addr()) || len(c.syns) > 0 {
					t.Errorf("traffic for the shoot left the pod: TCP to %v, SYNs to %v, all packets to %v", c.tcp, c.syns, c.seen)
				}
			})
		})
	}
}

// TestSYNSentAheadDoesNotOpenTheGuard: a host outside with an address of the shoot sends a SYN
// ahead. For conntrack, an app's own connection to that host would then be an answer, which is
// neither redirected nor rejected.
func TestSYNSentAheadDoesNotOpenTheGuard(t *testing.T) {
	onEach(t, func(t *testing.T, b Backend, f Family) {
		p := dualStackPod(t)
		p.addPeer(t, f, false)
		p.apply(t, configFor(shootCIDR(f)), b)
		p.sidecar(t, f)
		target := netip.AddrPortFrom(shootPeer(f), 9100)
		source := netip.AddrPortFrom(podAddress(f), 40123)
		// The pod does not answer the SYN: a reset would end conntrack's entry.
		p.iptables(t, f, b, "-t", "raw", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP")
		c := p.capture(t)
		syn := segment{from: target, to: source, seq: 1, flags: flagSYN}
		if err := syn.send(t, p.router); err != nil {
			t.Fatal(err)
		}
		if known := p.Run(t, "conntrack", "-L", "-f", map[Family]string{IPv4: "ipv4", IPv6: "ipv6"}[f], "-p", "tcp", "--dport", "40123"); known == "" {
			t.Fatal("conntrack did not take the SYN, so this test proves nothing")
		}
		p.iptables(t, f, b, "-t", "raw", "-F")
		dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(source)}
		var conn net.Conn
		var err error
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		p.Do(t, func() { conn, err = dialer.DialContext(ctx, "tcp", target.String()) })
		if err == nil {
			if got := readLine(t, conn); got != target.String() {
				t.Errorf("the connection went to %q", got)
			}
			conn.Close()
		}
		p.destinations(t, c, f)
		own := slices.DeleteFunc(c.syns, func(a netip.AddrPort) bool { return a != target })
		if len(own) > 0 {
			t.Errorf("the app's SYN left the pod as an answer to one from outside (%v): to %v", err, own)
		}
		if err != nil && !isRefused(err) {
			t.Errorf("the app's connection: %v, want it redirected or refused on the spot", err)
		}
	})
}
