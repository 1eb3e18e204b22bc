// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
)

// The range of the probe's ports; see the package documentation.
const (
	firstPort = 20000
	portCount = 10000
)

// Port returns the TCP port of the probe for a set, 20000 to 29999. It depends only on
// CIDRs that have rules, so that it can be derived from the rules. CIDRs of a family do
// not count if all addresses of the family are excluded.
func Port(set *cidr.Set) uint16 {
	h := fnv.New64a()
	ruled := func(p netip.Prefix) bool { return p.Addr().Is4() && set.Has4() || p.Addr().Is6() && set.Has6() }
	for _, p := range set.Shoot() {
		if ruled(p) {
			fmt.Fprintf(h, "shoot %s\n", p) // a hash never fails
		}
	}
	for _, p := range set.Excluded() {
		if ruled(p) {
			fmt.Fprintf(h, "exclude %s\n", p)
		}
	}
	return uint16(firstPort + h.Sum64()%portCount)
}

// Target4 returns the IPv4 probe target: 192.0.2.1 and the set's port.
func Target4(set *cidr.Set) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), Port(set))
}

// Target6 returns the IPv6 probe target: 2001:db8::1 and the set's port.
func Target6(set *cidr.Set) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}), Port(set))
}

// Targets returns the probe targets of the families for which the set has rules, IPv4
// first.
func Targets(set *cidr.Set) []netip.AddrPort {
	var targets []netip.AddrPort
	if set.Has4() {
		targets = append(targets, Target4(set))
	}
	if set.Has6() {
		targets = append(targets, Target6(set))
	}
	return targets
}

// minHostBits is the minimum number of host bits for which a CIDR's first address is
// not a host's. In IPv4 that address is the network's own (RFC 1122 3.2.1.3), in IPv6
// the routers' (RFC 4291 2.6.1). In CIDRs of one or two addresses it is a host's (RFC
// 3021, RFC 6164).
const minHostBits = 2

// Inside returns one target in each aggregated shoot CIDR, in order: its first address
// that is not excluded, with the set's port. A rule that takes the CIDR's own traffic
// takes this probe too. A CIDR of one or two addresses gets no target, because both are
// hosts'.
//
// If the first address is a host's all the same, the sidecar takes connections to this
// one port of it for the probe.
func Inside(set *cidr.Set) []netip.AddrPort {
	var targets []netip.AddrPort
	port := Port(set)
	for _, p := range set.Shoot() {
		for _, part := range cidr.Subtract([]netip.Prefix{p}, set.Excluded()) {
			if part.Addr().BitLen()-part.Bits() >= minHostBits {
				targets = append(targets, netip.AddrPortFrom(part.Addr(), port))
				break
			}
		}
	}
	return targets
}

// IsTarget reports whether a connection to dst is a probe of this set.
func IsTarget(set *cidr.Set, dst netip.AddrPort) bool {
	if dst.Port() != Port(set) {
		return false
	}
	dst = unmap(dst)
	return slices.Contains(Targets(set), dst) || slices.Contains(Inside(set), dst)
}

// unmap converts ::ffff:192.0.2.1, as a dual-stack listener reports IPv4, to IPv4.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
