// SPDX-License-Identifier: Apache-2.0

// Package probe asks whether the redirect works, by using it.
//
// It owns the question and the answer that init-redirect and proxy-client
// share. The first rule of the nat table redirects a connection to the probe
// target: an address that nobody owns (192.0.2.1 of RFC 5737, 2001:db8::1 of
// RFC 3849) and a port that both programs derive from the same flags. Whoever
// listens where the redirect leads answers with one line that repeats the
// original destination as it saw it. So one connection shows that the rule is
// there, that it leads to us and not to somebody else's proxy, that
// SO_ORIGINAL_DST tells the truth, and that both programs were given the same
// CIDRs. It needs no capability.
//
// A second kind of target lies inside of each shoot CIDR, see [Inside]: what
// another program does with the shoot's own traffic, it does with that probe.
//
// It never reads rules, never opens a listener and never retries: pkg/redirect
// and internal/proxy decide when to ask and what follows.
//
//	for _, target := range probe.Targets(set) {
//		if err := probe.Check(ctx, target); err != nil {
//			logger.Warn("the redirect does not work", "error", err)
//		}
//	}
//
// and in the accept loop, before any other guard:
//
//	if probe.IsTarget(set, dst) {
//		return probe.Answer(conn, dst)
//	}
//
// # The port
//
// The port is 20000 + h mod 10000, where h is the 64-bit FNV-1a hash of the
// set's canonical text: "shoot 100.64.0.0/12\n" for each aggregated shoot CIDR
// in order, then "exclude 100.64.0.53/32\n" for each aggregated exclusion that
// overlaps them. It stays clear of the ephemeral ports (32768 to 60999), node
// ports (30000 to 32767) and the ports of Istio, Linkerd and this project.
// Equal sets, however they were written, have equal ports. Different sets
// nearly always have different ones, so a sidecar that was given other CIDRs
// than the init container does not recognise the probe, and Check says so.
//
// # The line
//
//	shoot-proxy probe 192.0.2.1:21836\n
package probe
