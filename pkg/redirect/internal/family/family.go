// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package family has the two families of addresses.
//
// It owns their names and what belongs to each. It never asks the kernel, so whether a
// pod has a family is for package podnetwork to say.
package family

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// Family is IPv4 or IPv6.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Of returns the family of an address. An IPv4 address written as IPv6 counts as IPv6.
func Of(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// Only returns the prefixes that belong to f, in the same order.
func Only(f Family, prefixes []netip.Prefix) []netip.Prefix {
	var all []netip.Prefix
	for _, p := range prefixes {
		if Of(p.Addr()) == f {
			all = append(all, p)
		}
	}
	return all
}

// Loopback returns the address to which target REDIRECT sends a packet that this host
// made (nf_nat_redirect.c). The sidecar listens there.
func Loopback(f Family) netip.Addr {
	if f == IPv4 {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// Number returns AF_INET or AF_INET6. Netlink's FAMILY_V4 and FAMILY_V6 are the same.
func Number(f Family) int {
	if f == IPv4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// Host returns the prefix that holds one address.
func Host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
