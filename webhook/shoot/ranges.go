// SPDX-License-Identifier: Apache-2.0

package shoot

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/webhook/inspect"
)

// ranges are the ranges that some pods of the seed redirect.
type ranges struct {
	// lists has the ranges by the name of their list.
	lists    map[string][]netip.Prefix
	excluded []netip.Prefix
	objects  []string
}

// The lists of ranges, as the configuration names them.
const (
	nodeCIDRs    = "nodeCIDRs"
	podCIDRs     = "podCIDRs"
	serviceCIDRs = "serviceCIDRs"
)

// lists returns the names of all lists.
func lists() []string { return []string{nodeCIDRs, podCIDRs, serviceCIDRs} }

func rangesOf(s *inspect.Shoot) *ranges {
	return &ranges{
		lists: map[string][]netip.Prefix{
			nodeCIDRs: prefixes(s.NodeCIDRs), podCIDRs: prefixes(s.PodCIDRs), serviceCIDRs: prefixes(s.ServiceCIDRs),
		},
		excluded: prefixes(s.ExcludeCIDRs),
		objects:  s.Objects,
	}
}

// prefixes parses ranges. One that is not valid is left out: no program accepts it.
func prefixes(texts []string) []netip.Prefix {
	var all []netip.Prefix
	for _, text := range texts {
		if p, err := netip.ParsePrefix(text); err == nil {
			all = append(all, p.Masked())
		}
	}
	return all
}

// holds reports whether one of the lists has the address. Which list makes no difference to
// the redirect.
func (r *ranges) holds(address netip.Addr) bool {
	for _, name := range lists() {
		if in(r.lists[name], address) {
			return true
		}
	}
	return false
}

// covers reports whether a range as a whole is in one of the ranges of a list.
func (r *ranges) covers(list string, p netip.Prefix) bool {
	return slices.ContainsFunc(r.lists[list], func(q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) })
}

func in(all []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(all, func(p netip.Prefix) bool { return p.Contains(address) })
}

// suggestion returns ranges that would hold the addresses. They are not wider than they
// have to be, and not wider than a network of that kind usually is: addresses that are far
// from each other get a range each.
func suggestion(addresses []netip.Addr) []netip.Prefix {
	groups := map[netip.Prefix]netip.Prefix{} // by the widest range, the narrowest
	for _, address := range addresses {
		most, least := 16, 24
		if address.Is6() {
			most, least = 48, 64
		}
		wide, narrow := netip.PrefixFrom(address, most).Masked(), netip.PrefixFrom(address, least).Masked()
		known, ok := groups[wide]
		if !ok {
			groups[wide] = narrow
			continue
		}
		for !known.Contains(address) {
			known = netip.PrefixFrom(known.Addr(), known.Bits()-1).Masked()
		}
		groups[wide] = known
	}
	var all []netip.Prefix
	for _, p := range groups {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	return all
}
