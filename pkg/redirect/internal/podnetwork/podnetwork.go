// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package podnetwork reads the network of the pod whose namespace the calling thread is
// in: devices, addresses, gateways, nameservers.
//
// It owns these questions to the kernel. It changes nothing: package routes does.
package podnetwork

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netlinkdump"
)

// NeededAddress is an address that a pod cannot do without.
type NeededAddress struct {
	Address netip.Addr
	// Role says what the address is to the pod.
	Role string
}

// NeededAddresses returns the pod's own addresses and default gateways, without addresses
// for which skip is true. Addresses on lo are left out: no rule for OUTPUT captures
// traffic to them.
func NeededAddresses(skip func(netip.Addr) bool) ([]NeededAddress, error) {
	links, err := Links()
	if err != nil {
		return nil, err
	}
	var all []NeededAddress
	for _, link := range links {
		if IsLoopback(link) {
			continue
		}
		addresses, err := Addresses(link, netlink.FAMILY_ALL)
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if address, ok := netip.AddrFromSlice(a.IP); ok && !skip(address.Unmap()) {
				all = append(all, NeededAddress{address, "this pod's own address on " + link.Attrs().Name})
			}
		}
	}
	gateways, err := defaultGateways()
	return append(all, gateways...), err
}

func defaultGateways() ([]NeededAddress, error) {
	var all []NeededAddress
	for _, f := range []family.Family{family.IPv4, family.IPv6} {
		routes, err := Routes(f)
		if err != nil {
			return nil, err
		}
		for _, r := range routes {
			if !IsDefault(r) {
				continue
			}
			hops := []*netlink.NexthopInfo{{Gw: r.Gw, Via: r.Via}}
			for _, hop := range append(hops, r.MultiPath...) {
				gateway := hop.Gw
				if via, ok := hop.Via.(*netlink.Via); ok {
					gateway = via.Addr // IPv4 by an IPv6 gateway, RFC 5549
				}
				if address, ok := netip.AddrFromSlice(gateway); ok {
					all = append(all, NeededAddress{address, "this pod's default gateway"})
				}
			}
		}
	}
	return all, nil
}

// Links returns all devices.
func Links() ([]netlink.Link, error) {
	links, err := netlinkdump.Complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list this pod's devices: %w", err)
	}
	return links, nil
}

// Addresses returns the addresses of a device that belong to a family of netlink.
func Addresses(link netlink.Link, number int) ([]netlink.Addr, error) {
	addresses, err := netlinkdump.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(link, number) })
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Attrs().Name, err)
	}
	return addresses, nil
}

// Routes returns all routes of a family.
func Routes(f family.Family) ([]netlink.Route, error) {
	routes, err := netlinkdump.Complete(func() ([]netlink.Route, error) { return netlink.RouteList(nil, family.Number(f)) })
	if err != nil {
		return nil, fmt.Errorf("list this pod's routes: %w", err)
	}
	return routes, nil
}

// IsDefault reports whether a route is for all destinations.
func IsDefault(r netlink.Route) bool {
	if r.Dst == nil {
		return true
	}
	ones, _ := r.Dst.Mask.Size()
	return ones == 0
}

// IsLoopback reports whether a device is lo.
func IsLoopback(link netlink.Link) bool { return link.Attrs().Name == "lo" }

// Nameservers returns the nameservers of a file like resolv.conf(5), or none if there is
// no such file.
func Nameservers(path string) ([]NeededAddress, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read this pod's nameservers: %w", err)
	}
	defer file.Close() //nolint:errcheck // only read
	return parseResolvConf(file, path)
}

// parseResolvConf reads the nameservers of resolv.conf(5). It skips what is no address:
// the resolver complains about that.
func parseResolvConf(r io.Reader, file string) ([]NeededAddress, error) {
	var all []NeededAddress
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 || words[0] != "nameserver" {
			continue
		}
		if address, err := netip.ParseAddr(words[1]); err == nil {
			all = append(all, NeededAddress{address, "a nameserver of " + file})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return all, nil
}

// IPv6Disabled reports whether the kernel refuses IPv6 in this namespace, and how that
// shows.
func IPv6Disabled() (how string, disabled bool) {
	if _, err := os.Stat("/proc/thread-self/net/if_inet6"); errors.Is(err, os.ErrNotExist) {
		return "the kernel has no IPv6 (ipv6.disable=1 on its command line, or not built in)", true
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return "", false
	}
	addresses, err := Addresses(lo, netlink.FAMILY_V6)
	if err != nil {
		return "", false
	}
	for _, a := range addresses {
		if a.IP.IsLoopback() {
			return "", false
		}
	}
	// REDIRECT sends to ::1, also if the sysctl is set for another device alone.
	return "device lo has no address ::1 (sysctl net.ipv6.conf.all.disable_ipv6 or net.ipv6.conf.lo.disable_ipv6 is 1, or lo is down)", true
}

// IPv6DisabledOn reports whether a device refuses IPv6.
func IPv6DisabledOn(device string) bool {
	// The sysctl's folder is that of the namespace of the thread that opens the file.
	value, err := os.ReadFile(filepath.Join("/proc/sys/net/ipv6/conf", device, "disable_ipv6"))
	return err == nil && strings.TrimSpace(string(value)) == "1"
}
