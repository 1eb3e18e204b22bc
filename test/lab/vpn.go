// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// maxMembers is how many times pods can join a VPN.
const maxMembers = 200

// VPN is another way to the shoot than the tunnel. Its gateway is a host that forwards
// into the shoot's network. A pod that joins has a tun device, and routes for the shoot's
// CIDRs over it. A goroutine of the lab carries the packets between the two, as the
// processes of a VPN do.
//
//	pod                            gateway                       shoot
//	tun0 10.98.N.2  ── packets ──  tunN 10.98.N.1, 10.99.0.1 ──  vpn 10.99.0.2
type VPN struct {
	lab     *Lab
	gateway *Namespace

	mu      sync.Mutex // guards what follows
	members []*Member
	joined  int
}

const (
	gatewayIPv4, gatewayIPv6       = "10.99.0.1/24", "fd00:99::1/64"
	shootByVPNIPv4, shootByVPNIPv6 = "10.99.0.2/24", "fd00:99::2/64"
)

// memberNet returns the network of a member, counted from 1: its address and the
// gateway's, with their lengths.
func memberNet(f Families, number int) (member, gateway netip.Prefix) {
	if f == IPv6 {
		return netip.MustParsePrefix(fmt.Sprintf("fd00:98:%x::2/64", number)), netip.MustParsePrefix(fmt.Sprintf("fd00:98:%x::1/64", number))
	}
	return netip.MustParsePrefix(fmt.Sprintf("10.98.%d.2/24", number)), netip.MustParsePrefix(fmt.Sprintf("10.98.%d.1/24", number))
}

// StartVPN makes the gateway. Without a member it changes nothing for any pod.
func (l *Lab) StartVPN() (*VPN, error) {
	gateway, err := l.host("vpn")
	if err != nil {
		return nil, err
	}
	v := &VPN{lab: l, gateway: gateway}
	if err := gateway.Do(v.wireGateway); err != nil {
		return nil, fmt.Errorf("wire the VPN's gateway: %w", err)
	}
	err = l.Shoot.Do(func() error {
		if err := addresses(map[string][]string{"vpn": {shootByVPNIPv4, shootByVPNIPv6}}); err != nil {
			return err
		}
		return errors.Join(addRoute("10.98.0.0/16", gatewayIPv4), addRoute("fd00:98::/32", gatewayIPv6))
	})
	if err != nil {
		return nil, fmt.Errorf("wire the shoot with the VPN: %w", err)
	}
	l.OnClose(v.Close)
	return v, nil
}

func (v *VPN) wireGateway() error {
	if err := addCable("to-shoot", v.lab.Shoot, "vpn"); err != nil {
		return err
	}
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"} {
		if err := os.WriteFile(path, []byte("1"), 0); err != nil {
			return err
		}
	}
	if err := addresses(map[string][]string{"lo": nil, "to-shoot": {gatewayIPv4, gatewayIPv6}}); err != nil {
		return err
	}
	for _, f := range DualStack.Each() {
		for _, cidr := range shootCIDRs(f) {
			if err := addRoute(cidr, pick(f, shootByVPNIPv4, shootByVPNIPv6)); err != nil {
				return err
			}
		}
	}
	return nil
}

// shootCIDRs returns the shoot's CIDRs of one family.
func shootCIDRs(f Families) []string { return []string{PodCIDR(f), ServiceCIDR(f), NodeCIDR(f)} }

// addRoute adds a route in the current namespace. via is an address with its length.
func addRoute(to, via string) error {
	_, destination, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	route := &netlink.Route{Dst: destination, Gw: net.IP(netip.MustParsePrefix(via).Addr().AsSlice())}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("add the route to %s via %s: %w", to, via, err)
	}
	return nil
}

// Member is a pod that has joined a VPN.
type Member struct {
	// Device is the name of its tun device.
	Device string

	vpn    *VPN
	pod    *Namespace
	number int
	ends   []*os.File // of the pod's and the gateway's device
	carry  sync.WaitGroup
	once   sync.Once
}

// Join gives a pod a tun device, and the routes to the shoot over it.
func (v *VPN) Join(pod *Namespace) (*Member, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.joined++
	if v.joined > maxMembers {
		return nil, fmt.Errorf("a VPN has at most %d members", maxMembers)
	}
	m := &Member{Device: "tun0", vpn: v, pod: pod, number: v.joined}
	v.members = append(v.members, m)
	if err := m.join(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s joins the VPN: %w", pod.Name, err), m.Leave())
	}
	return m, nil
}

func (m *Member) join() error {
	v := m.vpn
	var own, gateways []string
	for _, f := range v.lab.opts.PodFamilies.Each() {
		member, gateway := memberNet(f, m.number)
		own, gateways = append(own, member.String()), append(gateways, gateway.String())
	}
	far := fmt.Sprint("tun", m.number)
	if err := v.gateway.Do(func() error { return m.addDevice(far, gateways) }); err != nil {
		return err
	}
	err := m.pod.Do(func() error {
		if err := m.addDevice(m.Device, own); err != nil {
			return err
		}
		for _, f := range v.lab.opts.PodFamilies.Each() {
			_, gateway := memberNet(f, m.number)
			for _, cidr := range shootCIDRs(f) {
				if err := addRoute(cidr, gateway.String()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i, from := range m.ends {
		to := m.ends[1-i]
		m.carry.Go(func() { carryPackets(from, to) })
	}
	return nil
}

// addDevice makes a tun device in the current namespace, with addresses.
func (m *Member) addDevice(name string, prefixes []string) error {
	end, err := openTun(name)
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	m.ends = append(m.ends, end)
	return addresses(map[string][]string{name: prefixes})
}

// openTun makes a tun device in the current namespace. It ends when the file is closed.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	// The poller accepts the file only now, because it has a device.
	return os.NewFile(uintptr(fd), name), nil
}

// carryPackets passes packets on until from is closed. Each read returns one packet.
func carryPackets(from, to *os.File) {
	packet := make([]byte, 1<<16)
	for {
		n, err := from.Read(packet)
		if err != nil {
			return
		}
		_, _ = to.Write(packet[:n]) // a packet may get lost, as in every network
	}
}

// Capture opens a capture on the member's device.
func (m *Member) Capture() (*Capture, error) {
	_, gateway := memberNet(m.vpn.lab.podFamily(), m.number)
	return m.pod.capture(m.Device, gateway.Addr())
}

// Leave takes the pod's device away, and with it its routes. It may be called more than
// once.
func (m *Member) Leave() error {
	var err error
	m.once.Do(func() {
		for _, end := range m.ends {
			err = errors.Join(err, end.Close())
		}
		m.carry.Wait()
	})
	return err
}

// Break makes the gateway reject everything that it should forward. A VPN that was taken
// away while pods still use it has the same effect.
func (v *VPN) Break(ctx context.Context) (Undo, error) {
	var steps []step
	for _, f := range DualStack.Each() {
		command := func(action string) Command {
			return Command{Path: pick(f, "iptables", "ip6tables"), Args: []string{"-w", action, "FORWARD", "-j", "REJECT"}}
		}
		steps = append(steps, step{host: v.gateway, do: command("-I"), undo: command("-D")})
	}
	return do(ctx, steps)
}

// Close lets all members leave.
func (v *VPN) Close() error {
	v.mu.Lock()
	members := slices.Clone(v.members)
	v.mu.Unlock()
	var err error
	for _, m := range members {
		err = errors.Join(err, m.Leave())
	}
	return err
}
