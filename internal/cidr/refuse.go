// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"fmt"
	"net/netip"
	"strings"
)

// A redirect of anything shorter is taken for a mistake: it would capture a
// good part of the Internet, and with it what the pod needs to stay alive.
const (
	shortest4 = 8
	shortest6 = 16
)

// checkLength refuses an aggregated range that is too short, naming whatever
// entries make it up.
func checkLength(aggregated []netip.Prefix, entries []Entry) error {
	for _, p := range aggregated {
		limit, family := shortest(p)
		if p.Bits() >= limit {
			continue
		}
		parts := inside(p, entries)
		return &Error{
			Flag:  parts[0].Flag,
			Value: parts[0].Value,
			Problem: fmt.Sprintf("%s, which is shorter than the /%d allowed for %s%s: list only the shoot's own ranges",
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

// acceptable reports whether p may be a range of the shoot, by itself.
func acceptable(p netip.Prefix) bool {
	limit, _ := shortest(p)
	return p.Bits() >= limit && checkReserved([]Entry{{Prefix: p}}) == nil
}

// makes says how the entries come to p: alone or together.
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

// reserved lists what can never be the shoot's: addresses that mean something
// else on every host. Sources: RFC 6890 and the IANA special-purpose registries.
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

// checkReserved refuses entries that overlap what no shoot can own. Aggregation
// adds no address, so the entries themselves are what is compared.
func checkReserved(entries []Entry) error {
	for _, e := range entries {
		for _, r := range reserved() {
			if e.Prefix.Overlaps(r.prefix) {
				return &Error{
					Flag:    e.Flag,
					Value:   e.Value,
					Problem: fmt.Sprintf("overlaps %s (%s), which no shoot can own: list only the shoot's own ranges", r.what, r.prefix),
				}
			}
		}
	}
	return nil
}

// swallowed is the refusal of exclusions that leave nothing of the shoot. It
// names only those exclusions that take part.
func swallowed(shoot, exclude []Entry) error {
	var guilty []Entry
	for _, e := range exclude {
		for _, s := range shoot {
			if e.Prefix.Overlaps(s.Prefix) {
				guilty = append(guilty, e)
				break
			}
		}
	}
	values := make([]string, 0, len(guilty))
	for _, e := range guilty {
		values = append(values, e.Value)
	}
	return &Error{
		Flag:    guilty[0].Flag,
		Value:   strings.Join(values, ","),
		Problem: fmt.Sprintf("leaves nothing of %s: exclude less, or correct the shoot's CIDRs", list(shoot)),
	}
}

// inside returns the entries that lie in p. Where one of them is all of p the
// others do not matter.
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

// list names entries in a sentence, the first few of them: 256 of a /8 each
// are a default route too, and still have to fit one line.
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
