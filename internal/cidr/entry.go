// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"fmt"
	"net/netip"
	"strings"
)

// Entry is one prefix as a user gave it. Flag and Value are kept for the
// sentences that refuse it, here and wherever else it turns out to be wrong.
type Entry struct {
	// Flag is where it came from, with its dashes: "--shoot-pod-cidr".
	Flag string
	// Value is the element as it was written, without surrounding space.
	Value string
	// Prefix is Value parsed; it has no host bits and no zone.
	Prefix netip.Prefix
}

// String is the entry the way a command line would have it.
func (e Entry) String() string {
	return fmt.Sprintf("%s %q", e.Flag, e.Value)
}

// Error is bad input: one sentence that names the flag and the value. A
// program that meets one ends with exit code 2 and has changed nothing.
type Error struct {
	// Flag is the flag at fault, with its dashes.
	Flag string
	// Value is the offending element, empty where no value was given.
	Value string
	// Problem says what is wrong with it and what to write instead.
	Problem string
}

// Error returns the sentence, without a full stop:
//
//	--shoot-pod-cidr "10.0.0.1/8": has host bits set: write 10.0.0.0/8
func (e *Error) Error() string {
	if e.Value == "" {
		return e.Flag + ": " + e.Problem
	}
	return fmt.Sprintf("%s %q: %s", e.Flag, e.Value, e.Problem)
}

// Parse reads the values of one flag, one CIDR each. Space around a value is
// ignored. An empty value, one with host bits and one that is no CIDR at all
// are refused with an [*Error]; a prefix that only [New] can judge passes.
func Parse(flag string, values []string) ([]Entry, error) {
	entries := make([]Entry, 0, len(values))
	for _, value := range values {
		value = strings.TrimSpace(value)
		prefix, problem := parse(value)
		if problem != "" {
			if value == "" {
				// The whole list shows where the stray comma is.
				value = strings.Join(values, ",")
			}
			return nil, &Error{Flag: flag, Value: value, Problem: problem}
		}
		entries = append(entries, Entry{Flag: flag, Value: value, Prefix: prefix})
	}
	return entries, nil
}

// parse returns the prefix that value stands for, or what is wrong with it.
func parse(value string) (_ netip.Prefix, problem string) {
	if value == "" {
		return netip.Prefix{}, "has an empty element: write CIDRs separated by single commas, such as 10.0.0.0/8,fd00::/48"
	}
	if address, err := netip.ParseAddr(value); err == nil {
		if address.Zone() != "" {
			return netip.Prefix{}, "has a zone, which no CIDR can have: " + anyCIDR
		}
		address = address.Unmap()
		return netip.Prefix{}, "is an address, not a CIDR: " + instead(netip.PrefixFrom(address, address.BitLen()), " for this one address")
	}
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return netip.Prefix{}, "is not a CIDR: " + anyCIDR
	}
	if prefix.Addr().Is4In6() {
		return netip.Prefix{}, "is an IPv4 range written as IPv6: " + writeAsIPv4(prefix)
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, "has host bits set: " + instead(masked, "")
	}
	return prefix, ""
}

// anyCIDR is what to do about a value that does not say which CIDR is meant.
const anyCIDR = "write an address and a length, such as 10.0.0.0/8 or fd00::/48"

// instead advises to write p, if that is not refused too.
func instead(p netip.Prefix, why string) string {
	if !acceptable(p) {
		return anyCIDR
	}
	return fmt.Sprintf("write %s%s", p, why)
}

// writeAsIPv4 is the cure for an IPv4-mapped prefix: no packet ever carries
// such an address, so a rule made from it would match nothing.
func writeAsIPv4(prefix netip.Prefix) string {
	const mapped = 96 // bits in front of the IPv4 address in ::ffff:0:0/96
	if prefix.Bits() < mapped {
		return "write the IPv4 range itself"
	}
	return instead(netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mapped).Masked(), "")
}
