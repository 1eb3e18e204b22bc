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

// maxSamples bounds the samples of each kind for one shoot CIDR.
const maxSamples = 12

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
		for i, a := range s.addresses(cidr, destinations) {
			for j, port := range ports {
				for k, uid := range users {
					// All pairs would be many, and a rule rarely names three things.
					if i > 0 && j > 0 && k > 0 {
						continue
					}
					t := sample{Traffic: Traffic{To: netip.AddrPortFrom(a, port), UID: &uid}}
					if i == 0 && j == 0 && k == 0 {
						t.cidr = cidr
					}
					if _, captures := s.Ours.captures(t.To, uid); captures {
						all = append(all, t)
					}
				}
			}
			if uid := users[0]; i == 0 {
				all = append(all, sample{Traffic: Traffic{To: netip.AddrPortFrom(a, ports[0]), UDP: true, UID: &uid}, cidr: cidr})
			}
		}
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
	ports = []uint16{s.freePort()}
	eachRule(s.Rules, func(r *netfilter.Rule) {
		if owned.of(r) == OwnerOurs {
			return
		}
		for _, c := range r.Conditions() {
			destinations = append(destinations, c.Destinations...)
			for _, p := range c.Ports {
				ports = append(ports, p.First, p.Last)
			}
			for _, u := range c.UIDs {
				users = append(users, u.First)
			}
		}
	})
	ports = slices.DeleteFunc(unique(ports), func(p uint16) bool { return p == 0 })
	users = slices.DeleteFunc(unique(users), func(u uint32) bool { return u == s.Ours.ProxyUID })
	return destinations, ports[:min(len(ports), maxSamples)], users[:min(len(users), maxSamples)]
}

// freePort returns a port that is not excluded.
func (s *Situation) freePort() uint16 {
	port := uint16(10250) // the kubelet's
	for slices.Contains(s.Ours.ExcludePorts, port) {
		port++
	}
	return port
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
	all = unique(all)
	return all[:min(len(all), maxSamples)]
}
