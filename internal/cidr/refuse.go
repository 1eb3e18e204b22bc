// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The least lengths of a range of the shoot. A redirect of a shorter range would
// capture a large part of the Internet, and with it what the pod needs to stay
// alive.
const (
	shortest4 = 8
	shortest6 = 16
)

// checkLength refuses an aggregated range that is too short. The error names the
// entries that make up the range.
func checkLength(aggregated []netip.Prefix, entries []Entry) error {
	for _, p := range aggregated {
		limit, family := shortest(p)
		if p.Bits() >= limit {
			continue
		}
		parts := inside(p, entries)
		return &Error{
			List:  parts[0].List,
			Value: parts[0].Value,
			Err: fmt.Errorf("%s, which is shorter than the /%d allowed for %s%s: list only the shoot's own ranges",
				makes(p, parts), limit, family, defaultRoute(p)),
		}
	}
	return nil
}

// shortest returns the least length of a range of p's family.
func shortest(p netip.Prefix) (bits int, family string) {
	if p.Addr().Is6() {
		return shortest6, "IPv6"
	}
	return shortest4, "IPv4"
}

// acceptable reports whether p alone could be the shoot's CIDRs.
func acceptable(p netip.Prefix) bool {
	limit, _ := shortest(p)
	return p.Bits() >= limit && checkReserved([]Entry{{Prefix: p}}) == nil
}

// makes says that parts are p: one entry alone, or several together.
func makes(p netip.Prefix, parts []Entry) string {
	if parts[0].Prefix == p {
		return "is " + p.String()
	}
	return fmt.Sprintf("together with %s makes %s", list(parts[1:]), p)
}

// defaultRoute explains a prefix that covers a whole family.
func defaultRoute(p netip.Prefix) string {
	if p.Bits() == 0 {
		return " and would capture the default route"
	}
	return ""
}

// reserved returns the ranges that can never be the shoot's, since they have a
// meaning of their own on every host. Sources: RFC 6890 and the IANA
// special-purpose registries.
func reserved() []struct {
	prefix netip.Prefix
	what   string
} {
	return []struct {
		prefix netip.Prefix
		what   string
	}{
		{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
		{netip.MustParsePrefix("169.254.0.0/16"), "link-local addresses"},
		{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
		{netip.MustParsePrefix("0.0.0.0/8"), "unspecified addresses"},
		{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
		{netip.MustParsePrefix("::1/128"), "the loopback address"},
		{netip.MustParsePrefix("fe80::/10"), "link-local addresses"},
		{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
		{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 addresses written as IPv6"},
		{netip.MustParsePrefix("::/128"), "the unspecified address"},
	}
}

// checkReserved refuses entries that overlap a reserved range. It compares the
// entries before aggregation, since aggregation adds no address.
func checkReserved(entries []Entry) error {
	for _, e := range entries {
		for _, r := range reserved() {
			if e.Prefix.Overlaps(r.prefix) {
				return &Error{
					List:  e.List,
					Value: e.Value,
					Err:   fmt.Errorf("overlaps %s (%s), which no shoot can own: list only the shoot's own ranges", r.what, r.prefix),
				}
			}
		}
	}
	return nil
}

// nothingLeft is the refusal of exclusions that leave nothing of the shoot. It
// names the exclusions that overlap the shoot, and no others.
func nothingLeft(shoot, exclude []Entry) error {
	overlapping := slices.DeleteFunc(slices.Clone(exclude), func(e Entry) bool {
		return !slices.ContainsFunc(shoot, func(s Entry) bool { return s.Prefix.Overlaps(e.Prefix) })
	})
	values := make([]string, 0, len(overlapping))
	for _, e := range overlapping {
		values = append(values, e.Value)
	}
	return &Error{
		List:  overlapping[0].List,
		Value: strings.Join(values, ","),
		Err:   fmt.Errorf("leaves nothing of %s: exclude less, or correct the shoot's CIDRs", list(shoot)),
	}
}

// inside returns the entries that lie in p. If one of them equals p, inside
// returns that one alone.
func inside(p netip.Prefix, entries []Entry) []Entry {
	var parts []Entry
	for _, e := range entries {
		if e.Prefix == p {
			return []Entry{e}
		}
		if contains(p, e.Prefix) {
			parts = append(parts, e)
		}
	}
	return parts
}

// list names entries in a sentence. It names the first four and counts the others:
// 256 entries of a /8 each are a default route too, and have to fit one line.
func list(entries []Entry) string {
	const most = 4
	names := make([]string, 0, most)
	for i, e := range entries {
		if i == most {
			return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(entries)-most)
		}
		names = append(names, e.String())
	}
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
