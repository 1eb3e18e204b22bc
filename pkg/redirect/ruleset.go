// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// The chains of this package. The names never change: people and other programs look for
// them.
const (
	// ChainOutput of table nat decides what is redirected.
	ChainOutput = "PROXY_CLIENT_OUTPUT"
	// ChainRedirect of table nat redirects.
	ChainRedirect = "PROXY_CLIENT_REDIRECT"
	// ChainGuard of table filter rejects what was not redirected. That of table mangle
	// drops what was redirected and would leave the pod nevertheless.
	ChainGuard = "PROXY_CLIENT_GUARD"

	tableFilter = "filter"
	tableMangle = "mangle"
	tableNAT    = "nat"
)

// Rule is one iptables rule, with the conditions and targets that this package uses. A packet
// has to meet all conditions. The zero value of a field is no condition.
type Rule = rule.Rule

// Chain is one chain of ours with all its rules, in order.
type Chain struct {
	Table, Name string
	// First is set if the first rule of the table's builtin chain has to jump here. The
	// builtin chain is OUTPUT, or POSTROUTING in table mangle.
	First bool
	Rules []Rule
}

// ourTables returns the tables that hold chains of ours, in the order in which they are
// applied: the guards come before nat, so that nothing escapes in between.
func ourTables() []string { return []string{tableMangle, tableFilter, tableNAT} }

// builtinChain returns the kernel's own chain that jumps to ours. Rules for OUTPUT see the
// device that a packet had before REDIRECT, also those that come after REDIRECT (ip_local_out
// hands one device to all of that hook). Rules for POSTROUTING see the device that the packet
// will leave by (ip_output).
func builtinChain(table string) string {
	if table == tableMangle {
		return "POSTROUTING"
	}
	return "OUTPUT"
}

// FamilyRules is everything for one family, in the order in which it is applied: the guards
// first, and nat last.
type FamilyRules struct {
	Family Family
	Chains []Chain
}

// Ruleset is everything that a [Config] asks iptables for.
type Ruleset struct {
	// Families holds those with a shoot CIDR, IPv4 first.
	Families []FamilyRules
}

// Build returns the rules for cfg, without asking the kernel. The error is a [*ConfigError].
func Build(cfg Config) (*Ruleset, error) {
	t, err := cfg.target()
	if err != nil {
		return nil, err
	}
	return t.ruleset(), nil
}

// ruleset returns the rules of all families.
func (t *target) ruleset() *Ruleset {
	rs := &Ruleset{}
	for _, f := range t.families() {
		rs.Families = append(rs.Families, t.rulesOf(f))
	}
	return rs
}

// rulesOf returns the rules of one family.
func (t *target) rulesOf(f Family) FamilyRules {
	at := t.probe[f]
	// All probes come before the exemptions: the sidecar, which is exempt, sends probes
	// too.
	var output []Rule
	// The guard rejects all ports of the probe address. A sidecar with other CIDRs probes
	// another port, and gets its answer at once instead of after a timeout.
	probeGuard := Rule{Destination: family.Host(at.Addr()), TCP: true, Jump: "REJECT", RejectWith: "tcp-reset"}

	guard := []Rule{probeGuard}
	for i, at := range append([]netip.AddrPort{at}, t.inside[f]...) {
		one := Rule{Destination: family.Host(at.Addr()), TCP: true, Ports: []uint16{at.Port()}, Jump: ChainRedirect}
		output = append(output, one)
		if i > 0 {
			one.Jump, one.RejectWith = "REJECT", "tcp-reset"
			guard = append(guard, one)
		}
	}
	output = append(output, t.exemptions(f)...)
	guard = slices.Concat(guard, t.exemptions(f), answers(f))
	if len(t.cfg.ExcludeUIDs) > 0 {
		guard = append(guard, closedByExempt())
	}
	for _, p := range family.Only(f, t.set.Shoot()) {
		output = append(output, Rule{Destination: p, TCP: true, Jump: ChainRedirect})
		guard = append(guard,
			// Conntrack calls the packet invalid (out of window, too late), so NAT
			// did not redirect it. A reset would end a connection that works.
			Rule{Destination: p, TCP: true, NotSYN: true, CTState: "INVALID", Jump: "DROP"},
			Rule{Destination: p, TCP: true, Jump: "REJECT", RejectWith: "tcp-reset"},
			Rule{Destination: p, Jump: "REJECT", RejectWith: portUnreachable(f)})
	}
	// What REDIRECT sends to loopback by another device than lo: the app has bound its
	// socket to a device that has no route of ours (see package routes).
	escaped := Rule{Destination: family.Host(family.Loopback(f)), Out: "! lo", TCP: true, Ports: []uint16{t.cfg.ProxyPort}, Jump: "DROP"}
	return FamilyRules{Family: f, Chains: []Chain{
		{Table: tableMangle, Name: ChainGuard, First: true, Rules: []Rule{escaped}},
		{Table: tableFilter, Name: ChainGuard, First: true, Rules: guard},
		{Table: tableNAT, Name: ChainOutput, First: true, Rules: output},
		{Table: tableNAT, Name: ChainRedirect, Rules: []Rule{{TCP: true, Jump: "REDIRECT", ToPort: t.cfg.ProxyPort}}},
	}}
}

// The messages by which a neighbour learns the link-layer address of this pod (RFC 4861).
// Conntrack does not track them.
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

// answers returns the rules for what the guard lets pass because the other side began:
// replies to connections that came from outside, and ICMP errors about them. Conntrack tells
// the direction; for conntrack, a packet without an entry begins a connection. A SYN is never
// an answer. Otherwise a host outside could send a SYN ahead, and an app's own connection to
// that host would count as the answer.
func answers(f Family) []Rule {
	rules := []Rule{
		{TCP: true, NotSYN: true, CTDir: "REPLY", Jump: "RETURN"},
		{NotTCP: true, CTDir: "REPLY", Jump: "RETURN"},
	}
	if f == IPv6 {
		rules = append(rules, Rule{ICMPv6: neighbourSolicitation, Jump: "RETURN"}, Rule{ICMPv6: neighbourAdvertisement, Jump: "RETURN"})
	}
	return rules
}

// closedByExempt returns the rule for the rest of a connection of an excluded user: once the
// app has closed the connection, its packets have no user any more. Conntrack knows such a
// connection as established, because the guard let its first packet pass. Its state is not
// DNAT, because it was not redirected.
func closedByExempt() Rule {
	return Rule{TCP: true, NotSYN: true, CTState: "! INVALID,NEW,RELATED,UNTRACKED,DNAT", NoSocket: true, Jump: "RETURN"}
}

// portUnreachable returns the answer that ends a UDP exchange at once: the kernel turns it
// into ECONNREFUSED (icmp_err_convert of net/ipv4/icmp.c).
func portUnreachable(f Family) string {
	if f == IPv4 {
		return "icmp-port-unreachable"
	}
	return "icmp6-port-unreachable"
}

// exemptions returns the rules for what both the redirect and the guard let pass: the
// sidecar's own traffic, traffic that stays in the pod, and what the configuration excludes.
// What REDIRECT made stays in the pod too: the guard sees it with destination 127.0.0.1.
func (t *target) exemptions(f Family) []Rule {
	ret := func(r Rule) Rule {
		r.Jump = "RETURN"
		return r
	}
	rules := []Rule{
		ret(Rule{UID: &t.cfg.ProxyUID}),
		ret(Rule{Out: "lo"}),
	}
	for _, ports := range condition.ChunkPorts(condition.Canonical(t.cfg.ExcludePorts)) {
		rules = append(rules, ret(Rule{TCP: true, Ports: ports}))
	}
	for _, uid := range condition.Canonical(t.cfg.ExcludeUIDs) {
		if uid != t.cfg.ProxyUID {
			rules = append(rules, ret(Rule{UID: &uid}))
		}
	}
	for _, p := range family.Only(f, t.set.Excluded()) {
		rules = append(rules, ret(Rule{Destination: p}))
	}
	return rules
}

// Ranges returns ports for people to read: three or more consecutive ports are written as
// 30000-32767.
func Ranges(ports []uint16) []string { return condition.PortRanges(ports) }

// String returns the whole ruleset as one text like that of iptables-save. Apply feeds it to
// iptables-restore --noflush in a namespace without our rules.
func (rs *Ruleset) String() string {
	var text strings.Builder
	for i, f := range rs.Families {
		if i > 0 {
			text.WriteByte('\n')
		}
		fmt.Fprintf(&text, "# %s\n%s", f.Family, f.script(nil))
	}
	return text.String()
}
