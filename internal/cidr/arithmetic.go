// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"net/netip"
	"slices"
)

// Aggregate returns the shortest list of prefixes that covers exactly the same
// addresses: contained prefixes are dropped and the two halves of a prefix are
// merged, again and again. It is sorted, IPv4 before IPv6.
func Aggregate(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, compare)

	// Sorted by address and then by length, a prefix comes before everything
	// that it contains, and the lower half of a prefix right before the upper.
	// So the last of merged is all that the next one has to be compared with.
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

// Subtract returns what is left of from once every address of without is
// taken away: exact, aggregated and sorted like the result of [Aggregate].
func Subtract(from, without []netip.Prefix) []netip.Prefix {
	var left []netip.Prefix
	for _, p := range Aggregate(from) {
		left = appendDifference(left, p, without)
	}
	return Aggregate(left)
}

// appendDifference appends what is left of p. It halves p until each part is
// either clear of without or lies inside of one of its prefixes; only parts
// that an exclusion cuts are halved, so each exclusion costs 128 steps at most.
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
