// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
)

// need is an address that a pod cannot do without.
type need struct {
	address netip.Addr
	role    string
}

// collision returns a [*CollisionError] for the first need that the redirect
// would take away.
func collision(set *cidr.Set, needs []need) error {
	for _, n := range needs {
		address := n.address.Unmap().WithZone("")
		if !set.Contains(address) {
			continue
		}
		e := &CollisionError{Address: address, Role: n.role, alone: !set.Spares(host(address))}
		for _, p := range set.Shoot() {
			if p.Contains(address) {
				e.CIDR = p
			}
		}
		return e
	}
	return nil
}

// needs collects this pod's own addresses, default gateways and nameservers.
// Addresses on lo do not count: traffic to them never reaches our rules.
func (n *namespace) needs() ([]need, error) {
	var all []need
	links, err := complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list this pod's devices: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
		if isLoopback(link) {
			continue
		}
		addresses, err := addressesOf(link, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
		}
		for _, a := range addresses {
			if address, ok := netip.AddrFromSlice(a.IP); ok && !isOwnAddress(address.Unmap()) {
				all = append(all, need{address, "this pod's own address on " + link.Attrs().Name})
			}
		}
	}
	gateways, err := defaultGateways()
	if err != nil {
		return nil, err
	}
	all = append(all, gateways...)
	servers, err := n.nameservers()
	return append(all, servers...), err
}

func defaultGateways() ([]need, error) {
	var all []need
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := allRoutes(family)
		if err != nil {
			return nil, fmt.Errorf("list this pod's routes: %w", err)
		}
		for _, r := range routes {
			if !isDefault(r) {
				continue
			}
			hops := []*netlink.NexthopInfo{{Gw: r.Gw, Via: r.Via}}
			for _, hop := range append(hops, r.MultiPath...) {
				gateway := hop.Gw
				if via, ok := hop.Via.(*netlink.Via); ok {
					gateway = via.Addr // IPv4 by an IPv6 gateway, RFC 5549
				}
				if address, ok := netip.AddrFromSlice(gateway); ok {
					all = append(all, need{address, "this pod's default gateway"})
				}
			}
		}
	}
	return all, nil
}

func allRoutes(family int) ([]netlink.Route, error) {
	return complete(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family) })
}

func addressesOf(link netlink.Link, family int) ([]netlink.Addr, error) {
	return complete(func() ([]netlink.Addr, error) { return netlink.AddrList(link, family) })
}

func isDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

func isLoopback(link netlink.Link) bool { return link.Attrs().Name == "lo" }

func (n *namespace) nameservers() ([]need, error) {
	if n.resolvConf == "" {
		n.log.Debug("nameservers are not checked: the namespace's resolv.conf cannot be known from here")
		return nil, nil
	}
	file, err := os.Open(n.resolvConf)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read this pod's nameservers: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	return parseResolvConf(file, n.resolvConf)
}

// parseResolvConf reads the nameservers of resolv.conf(5); what is no address
// is left to the resolver to complain about.
func parseResolvConf(r io.Reader, file string) ([]need, error) {
	var all []need
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(words[1]); err == nil {
			all = append(all, need{address, "a nameserver of " + file})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return all, nil
}

// ipv6Disabled reports whether the kernel refuses IPv6 in this namespace, and
// how that shows.
func ipv6Disabled() (how string, disabled bool) {
	if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		return "the kernel has no IPv6 (ipv6.disable=1 on its command line, or not built in)", true
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return "", false
	}
	addresses, err := addressesOf(lo, netlink.FAMILY_V6)
	if err != nil {
		return "", false
	}
	for _, a := range addresses {
		if a.IP.IsLoopback() {
			return "", false
		}
	}
	// REDIRECT delivers to ::1, wherever the sysctl was set.
	return "device lo has no address ::1 (sysctl net.ipv6.conf.all.disable_ipv6 or net.ipv6.conf.lo.disable_ipv6 is 1, or lo is down)", true
}
