// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"hash/fnv"
	"net/netip"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
)

// The probe's ports, see the package documentation.
const (
	firstPort = 20000
	ports     = 10000
)

// Port returns the TCP port of the probe for a set, 20000 to 29999. It depends
// on what there are rules for, so that it can be derived from the rules: on
// nothing of a family whose addresses are all excluded.
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
	return uint16(firstPort + h.Sum64()%ports)
}

// Target4 returns the IPv4 probe target, 192.0.2.1 and the set's port.
func Target4(set *cidr.Set) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), Port(set))
}

// Target6 returns the IPv6 probe target, 2001:db8::1 and the set's port.
func Target6(set *cidr.Set) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: 1}), Port(set))
}

// Targets returns the probe targets of the families that the set has, IPv4
// first: those for which there are rules.
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

// IsTarget reports whether a connection to dst is the probe of this set.
func IsTarget(set *cidr.Set, dst netip.AddrPort) bool {
	if dst.Port() != Port(set) {
		return false
	}
	dst = unmap(dst)
	return set.Has4() && dst == Target4(set) || set.Has6() && dst == Target6(set)
}

// unmap turns ::ffff:192.0.2.1, as a dual-stack listener sees IPv4, into IPv4.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
