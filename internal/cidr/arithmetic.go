// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"net/netip"
	"slices"
)

// Aggregate returns the shortest list of prefixes that covers exactly the same
// addresses. It drops contained prefixes and merges the two halves of a prefix,
// until neither is possible. The list is sorted, IPv4 before IPv6.
func Aggregate(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, compare)

	// Sorted by address and then by length, a prefix comes before all prefixes
	// that it contains. The lower half of a prefix comes right before the upper.
	// So each prefix has to be compared with the last element of merged only.
	merged := make([]netip.Prefix, 0, len(sorted))
	for _, p := range sorted {
		if len(merged) > 0 && contains(merged[len(merged)-1], p) {
			continue
		}
		merged = append(merged, p)
		for len(merged) > 1 {
			parent, ok := join(merged[len(merged)-2], merged[len(merged)-1])
			if !ok {
				break
			}
			merged = append(merged[:len(merged)-2], parent)
		}
	}
	return merged
}

// Subtract returns from minus each address of without. The result is exact,
// aggregated, and sorted like that of [Aggregate].
func Subtract(from, without []netip.Prefix) []netip.Prefix {
	var left []netip.Prefix
	for _, p := range Aggregate(from) {
		left = appendDifference(left, p, without)
	}
	return Aggregate(left)
}

// appendDifference appends p minus without. It halves p until each part either
// overlaps no prefix of without or lies inside one. It halves only parts that an
// exclusion cuts, so each exclusion costs 128 steps at most.
func appendDifference(left []netip.Prefix, p netip.Prefix, without []netip.Prefix) []netip.Prefix {
	var cutting []netip.Prefix
	for _, w := range without {
		if contains(w, p) {
			return left
		}
		if w.Overlaps(p) {
			cutting = append(cutting, w)
		}
	}
	if len(cutting) == 0 {
		return append(left, p)
	}
	lower, upper := halves(p)
	return appendDifference(appendDifference(left, lower, cutting), upper, cutting)
}

// halves splits p, which must be longer than a single address.
func halves(p netip.Prefix) (lower, upper netip.Prefix) {
	bits := p.Bits() + 1
	address := p.Addr().AsSlice()
	address[(bits-1)/8] |= 1 << (7 - (bits-1)%8)
	high, _ := netip.AddrFromSlice(address)
	return netip.PrefixFrom(p.Addr(), bits), netip.PrefixFrom(high, bits)
}

// join returns the prefix whose two halves are lower and upper.
func join(lower, upper netip.Prefix) (netip.Prefix, bool) {
	if lower.Bits() != upper.Bits() || lower.Bits() == 0 {
		return netip.Prefix{}, false
	}
	parent := netip.PrefixFrom(lower.Addr(), lower.Bits()-1).Masked()
	return parent, lower != upper && contains(parent, upper)
}

// contains reports whether every address of inner is one of outer.
func contains(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// compare orders by family, address and length.
func compare(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
