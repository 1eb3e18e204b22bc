// SPDX-License-Identifier: Apache-2.0

package cidr

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// Entry is one prefix as a user gave it. List and Value are kept for the
// sentences that refuse it, in this package and in others.
type Entry struct {
	// List is what the caller calls the list that the entry is in.
	List string
	// Value is the element as it was written, without surrounding space.
	Value string
	// Prefix is Value parsed; it has no host bits and no zone.
	Prefix netip.Prefix
}

// String returns the list and the value.
func (e Entry) String() string {
	return fmt.Sprintf("%s %q", e.List, e.Value)
}

// Entries returns prefixes, which the caller has in that form already, as
// entries of a list. A prefix with host bits or a zone is refused with an [*Error].
func Entries(list string, prefixes []netip.Prefix) ([]Entry, error) {
	entries := make([]Entry, 0, len(prefixes))
	for _, p := range prefixes {
		if !p.IsValid() || p != p.Masked() || p.Addr().Zone() != "" {
			return nil, &Error{List: list, Value: p.String(), Err: errors.New("is not a canonical CIDR: use netip.Prefix.Masked")}
		}
		entries = append(entries, Entry{List: list, Value: p.String(), Prefix: p})
	}
	return entries, nil
}

// Error is an entry, or a list as a whole, that cannot be used.
type Error struct {
	// List is what the caller calls the list at fault.
	List string
	// Value is the element at fault, or several with commas between them. It is
	// empty if the list consists of one empty element.
	Value string
	// Err says what is wrong with it and what to write instead.
	Err error
}

// Error returns one sentence without a full stop:
//
//	shoot "10.0.0.1/8" has host bits set: write 10.0.0.0/8
func (e *Error) Error() string {
	if e.Value == "" {
		return fmt.Sprintf("%s %v", e.List, e.Err)
	}
	return fmt.Sprintf("%s %q %v", e.List, e.Value, e.Err)
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Parse reads the values of one list, one CIDR each. Space around a value is
// ignored. Parse refuses an empty value, a value with host bits and a value that
// is no CIDR with an [*Error]. Refusals that depend on all lists are made by [New].
func Parse(list string, values []string) ([]Entry, error) {
	entries := make([]Entry, 0, len(values))
	for _, value := range values {
		value = strings.TrimSpace(value)
		prefix, err := parse(value)
		if err != nil {
			if value == "" {
				// The whole list shows where the stray comma is.
				value = strings.Join(values, ",")
			}
			return nil, &Error{List: list, Value: value, Err: err}
		}
		entries = append(entries, Entry{List: list, Value: value, Prefix: prefix})
	}
	return entries, nil
}

// parse returns the prefix that value stands for.
func parse(value string) (netip.Prefix, error) {
	if value == "" {
		return netip.Prefix{}, errors.New("has an empty element: write CIDRs separated by single commas, such as 10.0.0.0/8,fd00::/48")
	}
	if address, err := netip.ParseAddr(value); err == nil {
		if address.Zone() != "" {
			return netip.Prefix{}, errors.New("has a zone, which no CIDR can have: " + anyCIDR)
		}
		address = address.Unmap()
		return netip.Prefix{}, errors.New("is an address, not a CIDR: " + instead(netip.PrefixFrom(address, address.BitLen()), " for this one address"))
	}
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return netip.Prefix{}, errors.New("is not a CIDR: " + anyCIDR)
	}
	if prefix.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is an IPv4 range written as IPv6: " + writeAsIPv4(prefix))
	}
	if masked := prefix.Masked(); masked != prefix {
		return netip.Prefix{}, errors.New("has host bits set: " + instead(masked, ""))
	}
	return prefix, nil
}

// anyCIDR is the advice for a value that does not tell which CIDR is meant.
const anyCIDR = "write an address and a length, such as 10.0.0.0/8 or fd00::/48"

// instead advises to write p, unless p would be refused too.
func instead(p netip.Prefix, why string) string {
	if !acceptable(p) {
		return anyCIDR
	}
	return fmt.Sprintf("write %s%s", p, why)
}

// writeAsIPv4 is the advice for an IPv4-mapped prefix. No packet ever carries
// such an address, so a rule made from the prefix would match nothing.
func writeAsIPv4(prefix netip.Prefix) string {
	const mapped = 96 // bits in front of the IPv4 address in ::ffff:0:0/96
	if prefix.Bits() < mapped {
		return "write the IPv4 range itself"
	}
	return instead(netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mapped).Masked(), "")
}
