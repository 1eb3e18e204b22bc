// SPDX-License-Identifier: Apache-2.0

package exitpolicy

import (
	"net/netip"
	"slices"
)

// special returns the addresses that only a CIDR inside of them allows. 0.0.0.0/0, for
// example, does not allow 127.0.0.1, and 169.254.0.0/16 does not allow 169.254.169.254.
func special() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), // this host (RFC 1122); Linux connects 0.0.0.0 to loopback
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/4"),
		netip.MustParsePrefix("255.255.255.255/32"),
		netip.MustParsePrefix("::/96"), // unspecified, loopback, and IPv4-compatible (RFC 4291)
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("fec0::/10"), // site-local, deprecated by RFC 3879
		netip.MustParsePrefix("ff00::/8"),

		// The metadata services of clouds, from their documentation.
		netip.MustParsePrefix("169.254.169.254/32"), // AWS, Azure, Google, OpenStack and others
		netip.MustParsePrefix("169.254.169.123/32"), // AWS: time
		netip.MustParsePrefix("169.254.169.253/32"), // AWS: DNS
		netip.MustParsePrefix("169.254.170.2/32"),   // AWS: credentials of ECS
		netip.MustParsePrefix("169.254.170.23/32"),  // AWS: credentials of EKS
		netip.MustParsePrefix("169.254.42.42/32"),   // Scaleway
		netip.MustParsePrefix("100.100.100.200/32"), // Alibaba
		netip.MustParsePrefix("168.63.129.16/32"),   // Azure: the host
		netip.MustParsePrefix("192.0.0.192/32"),     // Oracle
		netip.MustParsePrefix("fd00:ec2::254/128"),  // AWS
		netip.MustParsePrefix("fd00:ec2::23/128"),   // AWS: credentials of EKS
		netip.MustParsePrefix("fd20:ce::254/128"),   // Google
		netip.MustParsePrefix("fd00:42::42/128"),    // Scaleway
	}
}

// nat64 is the well-known prefix by which a gateway reaches IPv4 addresses (RFC 6052).
func nat64() netip.Prefix { return netip.MustParsePrefix("64:ff9b::/96") }

// isSpecific reports whether a CIDR of the rule has the address, and lies within the
// smallest special range that has it. It is true for other addresses.
func (r *rule) isSpecific(a netip.Addr) bool {
	within, is := specialRange(a)
	return !is || slices.ContainsFunc(r.cidrs, func(p netip.Prefix) bool {
		return p.Contains(a) && p.Bits() >= within.Bits()
	})
}

// specialRange returns the smallest special range that has the address.
func specialRange(a netip.Addr) (smallest netip.Prefix, is bool) {
	for _, p := range special() {
		if p.Contains(a) && (!is || p.Bits() > smallest.Bits()) {
			smallest, is = p, true
		}
	}
	if is || !nat64().Contains(a) {
		return smallest, is
	}
	// A special IPv4 address does not become an ordinary one by a gateway.
	bytes := a.As16()
	if inner, is := specialRange(netip.AddrFrom4([4]byte(bytes[12:]))); is {
		return netip.PrefixFrom(a, 96+inner.Bits()).Masked(), true
	}
	return smallest, false
}
