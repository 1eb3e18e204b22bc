// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// The connections by which [Situation.Explain] finds out what happens to the shoot's. A rule
// changes its mind at an address, a port or a user that it names. So the samples are those
// that rules name, and one of each that no rule names.

const (
	// maxCombined bounds the addresses, ports and users that are tried in combinations.
	maxCombined = 12
	// maxNamedValues bounds those that are tried by themselves.
	maxNamedValues = 1000
)

func isIPv4(p netip.Prefix) bool { return p.Addr().Is4() }

// sample is a connection to try.
type sample struct {
	Traffic
	// cidr is the shoot CIDR for which it stands, if no rule names its address, its port
	// or its user.
	cidr netip.Prefix
	// probe is set for a check of the redirect.
	probe bool
}

// label says what the sample stands for.
func (s sample) label() string {
	switch {
	case s.probe:
		return "the check of the redirect (" + s.To.String() + ")"
	case s.cidr.IsValid():
		return s.cidr.String()
	default:
		return fmt.Sprintf("%s (uid %d)", s.To, *s.UID)
	}
}

// samples returns the connections to try.
func (s *Situation) samples() []sample {
	destinations, ports, users := s.boundaries()
	var all []sample
	for _, cidr := range s.Ours.Shoot {
		addresses := s.addresses(cidr, destinations)
		add := func(i, j, k int) {
			t := sample{Traffic: Traffic{To: netip.AddrPortFrom(addresses[i], ports[j]), UID: &users[k]}}
			if i == 0 && j == 0 && k == 0 {
				t.cidr = cidr
			}
			if _, captures := s.Ours.captures(t.To, users[k]); captures {
				all = append(all, t)
			}
		}
		for i := range min(len(addresses), maxCombined) {
			for j := range min(len(ports), maxCombined) {
				for k := range min(len(users), maxCombined) {
					// All would be many, and a rule rarely names three things.
					if i == 0 || j == 0 || k == 0 {
						add(i, j, k)
					}
				}
			}
		}
		if len(addresses) == 0 {
			continue
		}
		for i := maxCombined; i < len(addresses); i++ {
			add(i, 0, 0)
		}
		for j := maxCombined; j < len(ports); j++ {
			add(0, j, 0)
		}
		for k := maxCombined; k < len(users); k++ {
			add(0, 0, k)
		}
		all = append(all, sample{Traffic: Traffic{To: netip.AddrPortFrom(addresses[0], ports[0]), UDP: true, UID: &users[0]}, cidr: cidr})
	}
	for _, at := range s.Ours.Probes {
		uid := s.Ours.ProxyUID // the sidecar sends probes too
		all = append(all, sample{Traffic: Traffic{To: at, UID: &uid}, probe: true})
	}
	return all
}

// boundaries returns what the rules of others name.
func (s *Situation) boundaries() (destinations []netip.Prefix, ports []uint16, users []uint32) {
	owned := ownersOf(s.Rules)
	users = []uint32{anyUser(s.Rules)}
	var ranges []netfilter.Range[uint16]
	eachRule(s.Rules, func(r *netfilter.Rule) {
		if owned.of(r) == OwnerOurs {
			return
		}
		for _, c := range r.Conditions() {
			destinations = append(destinations, c.Destinations...)
			ranges = append(ranges, c.Ports...)
			for _, u := range c.UIDs {
				users = append(users, u.First)
			}
		}
	})
	ports = []uint16{s.freePort(ranges)}
	for _, p := range ranges[:min(len(ranges), maxNamedValues)] {
		ports = append(ports, p.First, p.Last)
	}
	ports = slices.DeleteFunc(unique(ports), func(p uint16) bool { return p == 0 })
	users = slices.DeleteFunc(unique(users[:min(len(users), maxNamedValues)]), func(u uint32) bool { return u == s.Ours.ProxyUID })
	return destinations, ports, users
}

// freePort returns a port that is not excluded, and that no rule names alone or in a narrow
// range.
func (s *Situation) freePort(ranges []netfilter.Range[uint16]) uint16 {
	const kubelet, narrow = 10250, 1000
	for port := uint16(kubelet); port != 0; port++ {
		isNamed := slices.ContainsFunc(ranges, func(r netfilter.Range[uint16]) bool { return r.Contains(port) && r.Last-r.First < narrow })
		if !isNamed && !slices.Contains(s.Ours.ExcludePorts, port) {
			return port
		}
	}
	return kubelet
}

// unique removes repeated values, and keeps the order.
func unique[T comparable](values []T) []T {
	var list []T
	for _, v := range values {
		if !slices.Contains(list, v) {
			list = append(list, v)
		}
	}
	return list
}

// addresses returns addresses of a shoot CIDR: one that no rule names, and one for each
// destination that overlaps it.
func (s *Situation) addresses(cidr netip.Prefix, named []netip.Prefix) []netip.Addr {
	free := func(a netip.Addr) bool {
		return cidr.Contains(a) && !contains(s.Ours.Exclude, a)
	}
	var all []netip.Addr
	// The second address, because the first one is the network's own.
	for a, n := cidr.Addr().Next(), 0; cidr.Contains(a) && n < 1<<12; a, n = a.Next(), n+1 {
		narrow := slices.ContainsFunc(named, func(p netip.Prefix) bool { return p.Contains(a) && p.Bits() > cidr.Bits() })
		if free(a) && !narrow {
			all = append(all, a)
			break
		}
	}
	if free(cidr.Addr()) && len(all) == 0 {
		all = append(all, cidr.Addr())
	}
	for _, p := range named {
		if p.Overlaps(cidr) && p.Bits() > cidr.Bits() && free(p.Addr()) {
			all = append(all, p.Addr())
		}
	}
	return unique(all[:min(len(all), maxNamedValues)])
}
