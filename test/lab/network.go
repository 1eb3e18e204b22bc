// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// MaxServers is how many upstream servers a seed can have.
const MaxServers = 4

// PodAddresses is how many pod addresses of each family the shoot has.
const PodAddresses = 60

// Addresses inside the namespaces, and nowhere else. Shoot addresses are on the shoot's
// lo.
const (
	podIPv4, podIPv6             = "10.96.0.10/24", "fd00:96::10/64"
	seedPodIPv4, seedPodIPv6     = "10.96.0.1/24", "fd00:96::1/64"
	seedShootIPv4, seedShootIPv6 = "10.97.0.1/24", "fd00:97::1/64"
	shootIPv4, shootIPv6         = "10.97.0.2/24", "fd00:97::2/64"
)

// PodCIDR returns the range of the shoot's pods in one family.
func PodCIDR(f Families) string { return pick(f, "100.64.0.0/16", "fd10:64::/48") }

// ServiceCIDR returns the range of the shoot's services in one family.
func ServiceCIDR(f Families) string { return pick(f, "100.104.0.0/16", "fd10:104::/48") }

// NodeCIDR returns the range of the shoot's nodes in one family.
func NodeCIDR(f Families) string { return pick(f, "10.250.0.0/16", "fd10:250::/48") }

// ShootPod returns the address of pod i (1 to [PodAddresses]) of the shoot.
func ShootPod(f Families, i int) netip.Addr {
	return netip.MustParseAddr(pick(f, fmt.Sprintf("100.64.0.%d", i), fmt.Sprintf("fd10:64::%x", i)))
}

// ShootService returns the address of a service of the shoot.
func ShootService(f Families) netip.Addr {
	return netip.MustParseAddr(pick(f, "100.104.0.10", "fd10:104::10"))
}

// ShootNode returns the address of a node of the shoot.
func ShootNode(f Families) netip.Addr {
	return netip.MustParseAddr(pick(f, "10.250.0.4", "fd10:250::4"))
}

// BlackHole returns a pod address of the shoot that never answers.
func BlackHole(f Families) netip.Addr {
	return netip.MustParseAddr(pick(f, "100.64.0.250", "fd10:64::fa"))
}

// Outside returns an address that is in no CIDR of the shoot and on no host.
func Outside(f Families) netip.Addr {
	return netip.MustParseAddr(pick(f, "198.51.100.7", "2001:db8:51::7"))
}

// PodAddress returns the client pod's own address.
func PodAddress(f Families) netip.Addr {
	return netip.MustParsePrefix(pick(f, podIPv4, podIPv6)).Addr()
}

// SeedAddress returns the seed's address as the client's pod sees it.
func SeedAddress(f Families) netip.Addr {
	return netip.MustParsePrefix(pick(f, seedPodIPv4, seedPodIPv6)).Addr()
}

// ServerAddress returns the address of the seed's upstream server with that index, from
// 0, if the seed has several. The seed always has all of these addresses. A single server
// answers on each of them.
func ServerAddress(f Families, index int) netip.Addr {
	return netip.MustParseAddr(pick(f, fmt.Sprintf("10.96.0.%d", 21+index), fmt.Sprintf("fd00:96::%x", 0x21+index)))
}

// URL returns the URL of a path on a target.
func URL(addr netip.Addr, port int, path string) string {
	return "http://" + net.JoinHostPort(addr.String(), strconv.Itoa(port)) + path
}

func pick(f Families, v4, v6 string) string {
	if f == IPv6 {
		return v6
	}
	return v4
}

// wire connects the three namespaces.
func (l *Lab) wire(ctx context.Context) error {
	if err := l.Seed.Do(func() error { return l.wireSeed() }); err != nil {
		return fmt.Errorf("wire the seed: %w", err)
	}
	if err := l.Pod.Do(func() error { return l.wirePod() }); err != nil {
		return fmt.Errorf("wire the client's pod: %w", err)
	}
	if err := l.Shoot.Do(wireShoot); err != nil {
		return fmt.Errorf("wire the shoot: %w", err)
	}
	for _, f := range DualStack.Each() {
		drop := Command{
			Path: pick(f, "iptables", "ip6tables"),
			Args: []string{"-w", "-A", "INPUT", "-d", BlackHole(f).String(), "-j", "DROP"},
		}
		if _, err := l.Shoot.Run(ctx, drop); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) wireSeed() error {
	for name, peer := range map[string]*Namespace{"to-pod": l.Pod, "to-shoot": l.Shoot} {
		if err := addCable(name, peer, "eth0"); err != nil {
			return err
		}
	}
	// The seed forwards, as a node does, but has no route to the shoot's addresses. A
	// sender gets an error at once instead of waiting. Without the last two settings the
	// kernel would send such an error only once a second.
	for path, value := range map[string]string{
		"/proc/sys/net/ipv4/ip_forward": "1", "/proc/sys/net/ipv6/conf/all/forwarding": "1",
		"/proc/sys/net/ipv4/icmp_ratelimit": "0", "/proc/sys/net/ipv6/icmp/ratelimit": "0",
	} {
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return err
		}
	}
	toPod := []string{seedPodIPv4, seedPodIPv6}
	for i := range MaxServers {
		toPod = append(toPod, ServerAddress(IPv4, i).String()+"/24", ServerAddress(IPv6, i).String()+"/64")
	}
	return addresses(map[string][]string{
		"lo":       nil,
		"to-pod":   toPod,
		"to-shoot": {seedShootIPv4, seedShootIPv6},
	})
}

// addCable adds a veth pair from the current namespace to another one. Both ends are down
// and have no address.
func addCable(near string, peer *Namespace, far string) error {
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: near}, PeerName: far,
		PeerNamespace: netlink.NsFd(peer.handle),
	}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add veth %s: %w", near, err)
	}
	return nil
}

func (l *Lab) wirePod() error {
	if l.opts.DisableIPv6 {
		for _, scope := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+scope+"/disable_ipv6", []byte("1"), 0); err != nil {
				return err
			}
		}
	}
	var own []string
	for _, f := range l.opts.PodFamilies.Each() {
		own = append(own, pick(f, podIPv4, podIPv6))
	}
	if err := addresses(map[string][]string{"lo": nil, "eth0": own}); err != nil {
		return err
	}
	for _, f := range l.opts.PodFamilies.Each() {
		route := &netlink.Route{Gw: net.IP(SeedAddress(f).AsSlice())}
		if err := netlink.RouteAdd(route); err != nil {
			return fmt.Errorf("add the default route via %s: %w", SeedAddress(f), err)
		}
	}
	return nil
}

func wireShoot() error {
	var shoot []string
	for _, f := range DualStack.Each() {
		all := []netip.Addr{ShootService(f), ShootNode(f), BlackHole(f)}
		for i := 1; i <= PodAddresses; i++ {
			all = append(all, ShootPod(f, i))
		}
		for i := range MaxExits {
			all = append(all, ExitAddress(f, i))
		}
		for _, addr := range all {
			shoot = append(shoot, netip.PrefixFrom(addr, addr.BitLen()).String())
		}
	}
	return addresses(map[string][]string{"lo": shoot, "eth0": {shootIPv4, shootIPv6}})
}

// addresses brings links of the current namespace up and gives them addresses.
func addresses(links map[string][]string) error {
	for name, prefixes := range links {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("link %s up: %w", name, err)
		}
		for _, prefix := range prefixes {
			addr, err := netlink.ParseAddr(prefix)
			if err != nil {
				return err
			}
			addr.Flags = unix.IFA_F_NODAD // usable now, not after a second of duplicate detection
			if err := netlink.AddrAdd(link, addr); err != nil {
				return fmt.Errorf("address %s on %s: %w", prefix, name, err)
			}
		}
	}
	return nil
}
