// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"errors"
	"net/netip"
	"slices"
)

// Set is the shoot's CIDRs minus the exclusions, canonical and aggregated. It is
// immutable, and so safe for concurrent use. Make one with [New]. A nil Set
// contains nothing.
type Set struct {
	entries  []Entry        // the shoot's, as the user gave them
	shoot    []netip.Prefix // aggregated
	excluded []netip.Prefix // aggregated, only those that overlap shoot
	left     []netip.Prefix // shoot minus excluded
}

// ErrNoShoot is the refusal of a [Set] without an entry of the shoot.
var ErrNoShoot = errors.New("no CIDR of the shoot is given")

// New returns the set of the shoot's entries minus the excluded ones. Without an
// entry of the shoot it returns [ErrNoShoot]. It refuses with an [*Error] what is
// wrong on every machine. Lengths are compared after aggregation, since two
// halves of the Internet are a default route too:
//
//   - a range shorter than /8 (IPv4) or /16 (IPv6)
//   - a range that overlaps loopback, link-local, multicast or unspecified
//     addresses, or IPv4 written as IPv6
//   - exclusions that leave nothing of the shoot
func New(shoot, exclude []Entry) (*Set, error) {
	if len(shoot) == 0 {
		return nil, ErrNoShoot
	}
	s := &Set{entries: slices.Clone(shoot), shoot: Aggregate(prefixes(shoot))}
	if err := checkLength(s.shoot, shoot); err != nil {
		return nil, err
	}
	if err := checkReserved(shoot); err != nil {
		return nil, err
	}
	for _, p := range Aggregate(prefixes(exclude)) {
		if slices.ContainsFunc(s.shoot, p.Overlaps) {
			s.excluded = append(s.excluded, p)
		}
	}
	s.left = Subtract(s.shoot, s.excluded)
	if len(s.left) == 0 {
		return nil, nothingLeft(shoot, exclude)
	}
	return s, nil
}

// Contains reports whether a is in a CIDR of the shoot and not excluded. An IPv4
// address written as IPv6 (::ffff:10.0.0.1) counts as IPv4.
func (s *Set) Contains(a netip.Addr) bool {
	if s == nil {
		return false
	}
	a = a.Unmap()
	return containsAddr(s.shoot, a) && !containsAddr(s.excluded, a)
}

// Shoot returns the shoot's CIDRs, aggregated and sorted, IPv4 before IPv6,
// with the exclusions still in them.
func (s *Set) Shoot() []netip.Prefix {
	if s == nil {
		return nil
	}
	return slices.Clone(s.shoot)
}

// Excluded returns the exclusions, aggregated and sorted, IPv4 before IPv6. It
// leaves out exclusions that do not overlap the shoot, since they change nothing.
func (s *Set) Excluded() []netip.Prefix {
	if s == nil {
		return nil
	}
	return slices.Clone(s.excluded)
}

// RemainsWithout reports whether an address of the shoot is left if p is excluded too.
func (s *Set) RemainsWithout(p netip.Prefix) bool {
	return s != nil && len(Subtract(s.left, []netip.Prefix{p})) > 0
}

// EmptyLists returns the lists of the shoot of which the exclusions leave nothing, by the
// names that the caller of [Parse] gave them. Such a list changes nothing.
func (s *Set) EmptyLists() []string {
	if s == nil {
		return nil
	}
	var names []string
	of := map[string][]netip.Prefix{}
	for _, e := range s.entries {
		if of[e.List] == nil {
			names = append(names, e.List)
		}
		of[e.List] = append(of[e.List], e.Prefix)
	}
	var empty []string
	for _, name := range names {
		if len(Subtract(Aggregate(of[name]), s.excluded)) == 0 {
			empty = append(empty, name)
		}
	}
	return empty
}

// Has4 reports whether an IPv4 address of the shoot remains.
func (s *Set) Has4() bool {
	return s != nil && slices.ContainsFunc(s.left, func(p netip.Prefix) bool { return p.Addr().Is4() })
}

// Has6 reports whether an IPv6 address of the shoot remains.
func (s *Set) Has6() bool {
	return s != nil && slices.ContainsFunc(s.left, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// Covering returns the entry that makes Contains(a) true, for a sentence that
// names what has to change. If several do, it returns the longest.
func (s *Set) Covering(a netip.Addr) (Entry, bool) {
	if !s.Contains(a) {
		return Entry{}, false
	}
	a = a.Unmap()
	best := Entry{}
	for _, e := range s.entries {
		if e.Prefix.Contains(a) && (!best.Prefix.IsValid() || e.Prefix.Bits() > best.Prefix.Bits()) {
			best = e
		}
	}
	return best, true
}

// containsAddr searches an aggregated list. At most one of its prefixes can
// contain a: the last that begins at or before a.
func containsAddr(sorted []netip.Prefix, a netip.Addr) bool {
	i, exact := slices.BinarySearchFunc(sorted, a, func(p netip.Prefix, a netip.Addr) int { return p.Addr().Compare(a) })
	if exact {
		return true
	}
	return i > 0 && sorted[i-1].Contains(a)
}

func prefixes(entries []Entry) []netip.Prefix {
	all := make([]netip.Prefix, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.Prefix)
	}
	return all
}
