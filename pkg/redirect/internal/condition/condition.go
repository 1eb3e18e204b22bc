// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package condition reads and writes the values of a rule's conditions as iptables and
// nft write them: addresses and ports.
//
// It owns these notations. It knows no rule, no table and no kernel.
package condition

import "net/netip"

// ParseDestination reads 10.0.0.0/8, 192.0.2.1 and 2001:db8::1/128.
func ParseDestination(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p == p.Masked()
}
