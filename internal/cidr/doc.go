// SPDX-License-Identifier: Apache-2.0

// Package cidr tells which addresses belong to the shoot.
//
// It owns the arithmetic on prefixes: merging lists of CIDRs, subtracting the
// exclusions, and refusing lists that would take away a pod's whole network.
// A program builds one [Set] and hands it on. init-redirect makes its rules from
// a [Set] and proxy-client guards its tunnel with one, by the same arithmetic.
//
// It knows no flag and no field: the caller says what its lists are called, and
// the errors repeat that. It never does I/O. Some refusals need the machine: a
// shoot CIDR that contains the pod's own address, its gateway or a nameserver.
// Others need the name service: a proxy-server inside a shoot CIDR. Packages
// that have access to those use [Set.Covering] to name the entry at fault.
//
//	shoot, err := cidr.Parse("shoot", []string{"100.64.0.0/12", "fd00:10::/64"})
//	...
//	exclude, err := cidr.Parse("exclude", []string{"100.64.0.53/32"})
//	...
//	set, err := cidr.New(shoot, exclude)
//	...
//	set.Contains(netip.MustParseAddr("100.64.3.7"))  // true
//	set.Contains(netip.MustParseAddr("100.64.0.53")) // false: excluded
package cidr
