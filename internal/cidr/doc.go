// SPDX-License-Identifier: Apache-2.0

// Package cidr knows which addresses are the shoot's.
//
// It owns the arithmetic on prefixes: what a user's lists of CIDRs amount to
// once they are merged, what the exclusions leave of them, and which lists
// must be refused because a redirect made from them would take a pod's whole
// network away. init-redirect makes its rules from a [Set], proxy-client
// guards its tunnel with the same one, so the two cannot disagree.
//
// It never does I/O. Refusals that need the machine (a shoot CIDR that
// contains the pod's own address, its gateway or a nameserver) or the name
// service (a proxy-server inside a shoot CIDR) belong to the packages that
// can see those; [Set.Covering] gives them the user's own entry to name.
//
//	shoot, err := cidr.Parse("--shoot-pod-cidr", []string{"100.64.0.0/12", "fd00:10::/64"})
//	...
//	exclude, err := cidr.Parse("--exclude-cidr", []string{"100.64.0.53/32"})
//	...
//	set, err := cidr.New(shoot, exclude)
//	...
//	set.Contains(netip.MustParseAddr("100.64.3.7"))  // true
//	set.Contains(netip.MustParseAddr("100.64.0.53")) // false: excluded
//
// Each error is an [*Error]: one sentence that names the flag and the value.
package cidr
