// SPDX-License-Identifier: Apache-2.0

// Package probe checks that the redirect works, by using it.
//
// It owns the question and the answer that init-redirect and proxy-client share. The
// first rule of the nat table redirects connections to the probe target. Its address
// belongs to no host: 192.0.2.1 of RFC 5737, or 2001:db8::1 of RFC 3849. Both programs
// derive its port from the same flags. The program that listens at the redirect's end
// answers with one line. The line repeats the original destination that the program
// read.
//
// So one connection shows four things: the rule exists; it leads to us and not to
// another proxy; SO_ORIGINAL_DST returns the right address; both programs have the same
// CIDRs. The probe needs no capability.
//
// A second kind of target is an address inside each shoot CIDR, see [Inside]. If
// another program takes the shoot's own traffic, it takes that probe too.
//
// The package never reads rules, never opens a listener and never retries. pkg/redirect
// and internal/proxy decide when to probe and what follows.
//
//	for _, target := range probe.Targets(set) {
//		if err := probe.Check(ctx, target); err != nil {
//			logger.Warn("the redirect does not work", "error", err)
//		}
//	}
//
// and in the accept loop, before any other check:
//
//	if probe.IsTarget(set, dst) {
//		return probe.Answer(conn, dst)
//	}
//
// # The port
//
// The port is 20000 + h mod 10000. h is the 64-bit FNV-1a hash of the set's canonical
// text: "shoot 100.64.0.0/12\n" for each aggregated shoot CIDR in order, then "exclude
// 100.64.0.53/32\n" for each aggregated exclusion that overlaps them.
//
// The range avoids the ephemeral ports (32768 to 60999), node ports (30000 to 32767)
// and the ports of Istio, Linkerd and this project.
//
// Equal sets have equal ports, in whatever form they were written. Different sets
// nearly always have different ports. So a sidecar with other CIDRs than the init
// container does not recognise the probe, and Check reports this.
//
// # The line
//
//	shoot-proxy probe 192.0.2.1:21836\n
package probe
