// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// The chains of this package. The names are fixed: people and other programs
// look for them.
const (
	// ChainOutput of table nat decides what is redirected.
	ChainOutput = "PROXY_CLIENT_OUTPUT"
	// ChainRedirect of table nat redirects.
	ChainRedirect = "PROXY_CLIENT_REDIRECT"
	// ChainGuard of table filter rejects what was not redirected, and that of
	// table mangle drops what was redirected and would leave all the same.
	ChainGuard = "PROXY_CLIENT_GUARD"

	// chainProbe begins the name of a chain that exists for moments in each
	// table, to see what the kernel can do before anything is changed.
	chainProbe = "PROXY_CLIENT_PROBE"

	tableFilter  = "filter"
	tableMangle  = "mangle"
	tableNAT     = "nat"
	maxMultiport = 15 // XT_MULTI_PORTS of linux/netfilter/xt_multiport.h
)

// Chain is one chain of ours with all of its rules, in order.
type Chain struct {
	Table, Name string
	// First is set where the kernel's own chain of the table ([builtin]) has
	// to jump here before all else.
	First bool
	Rules []Rule
}

// ourTables are the tables that hold chains of ours, in the order in which they
// are applied: the guards before nat, so that nothing escapes in between.
func ourTables() []string { return []string{tableMangle, tableFilter, tableNAT} }

// builtin is the kernel's own chain from which a table of ours is entered.
// OUTPUT sees the device of a packet as it was before REDIRECT, also behind it
// (ip_local_out hands one device to all of that hook); POSTROUTING sees the one
// that the packet will leave by (ip_output).
func builtin(table string) string {
	if table == tableMangle {
		return "POSTROUTING"
	}
	return "OUTPUT"
}

// FamilyRules is everything for one family, in the order in which it is
// applied, see [ourTables].
type FamilyRules struct {
	Family Family
	Chains []Chain
}

// Ruleset is everything that a [Config] asks iptables for.
type Ruleset struct {
	// Families holds those with a shoot CIDR, IPv4 first.
	Families []FamilyRules
}

// Build returns the rules for cfg, without looking at the machine. The error is
// a [*ConfigError].
func Build(cfg Config) (*Ruleset, error) {
	t, err := cfg.target()
	if err != nil {
		return nil, err
	}
	return t.ruleset(), nil
}

func (t *target) ruleset() *Ruleset {
	rs := &Ruleset{}
	for _, f := range t.families() {
		rs.Families = append(rs.Families, t.rulesOf(f))
	}
	return rs
}

func (t *target) rulesOf(f Family) FamilyRules {
	at := t.probe[f]
	// All probes stand before the exemptions: the sidecar, which is exempt,
	// sends them too.
	var output []Rule
	// The guard takes the whole address: a sidecar with other flags probes
	// another port, and should hear of it at once instead of after a timeout.
	probeGuard := Rule{Destination: host(at.Addr()), TCP: true, Jump: "REJECT", RejectWith: "tcp-reset"}

	guard := []Rule{probeGuard}
	for i, at := range append([]netip.AddrPort{at}, t.inside[f]...) {
		one := Rule{Destination: host(at.Addr()), TCP: true, Ports: []uint16{at.Port()}, Jump: ChainRedirect}
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
	for _, p := range t.set.Shoot() {
		if !f.of(p) {
			continue
		}
		output = append(output, Rule{Destination: p, TCP: true, Jump: ChainRedirect})
		guard = append(guard,
			// Conntrack refuses to know it (out of window, too late), so NAT
			// left it alone. A reset would end a connection that is well.
			Rule{Destination: p, TCP: true, NotSYN: true, CTState: "INVALID", Jump: "DROP"},
			Rule{Destination: p, TCP: true, Jump: "REJECT", RejectWith: "tcp-reset"},
			Rule{Destination: p, Jump: "REJECT", RejectWith: portUnreachable(f)})
	}
	// What REDIRECT sends to loopback by another device than lo: the app has
	// bound its socket to one that has no route of ours (see bound.go).
	escaped := Rule{Destination: host(f.loopback()), Out: "! lo", TCP: true, Ports: []uint16{t.cfg.ProxyPort}, Jump: "DROP"}
	return FamilyRules{Family: f, Chains: []Chain{
		{Table: tableMangle, Name: ChainGuard, First: true, Rules: []Rule{escaped}},
		{Table: tableFilter, Name: ChainGuard, First: true, Rules: guard},
		{Table: tableNAT, Name: ChainOutput, First: true, Rules: output},
		{Table: tableNAT, Name: ChainRedirect, Rules: []Rule{{TCP: true, Jump: "REDIRECT", ToPort: t.cfg.ProxyPort}}},
	}}
}

// The messages by which a neighbour learns where to send what it sends to this
// pod (RFC 4861). Conntrack does not look at them.
const (
	neighbourSolicitation  = 135
	neighbourAdvertisement = 136
)

// answers are what the guard leaves alone because the other side began: replies
// to connections that came from outside, and ICMP errors about them. Their
// direction is conntrack's, for which a packet that it has no entry for begins
// something. A SYN never answers: otherwise a SYN from outside, sent ahead,
// would make an app's own connection to there its answer.
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

// closedByExempt is the rest of a connection of an excluded user: once the app
// has closed it, its packets have no user any more. Such a connection was let
// through when it began, or conntrack would not know it as established, and was
// not redirected, or it would be DNAT.
func closedByExempt() Rule {
	return Rule{TCP: true, NotSYN: true, CTState: "! INVALID,NEW,RELATED,UNTRACKED,DNAT", NoSocket: true, Jump: "RETURN"}
}

// portUnreachable is the answer that ends a UDP exchange at once: the kernel
// turns it into ECONNREFUSED (icmp_err_convert of net/ipv4/icmp.c).
func portUnreachable(f Family) string {
	if f == IPv4 {
		return "icmp-port-unreachable"
	}
	return "icmp6-port-unreachable"
}

// exemptions are what both the redirect and the guard leave alone: the sidecar
// itself, whatever stays in the pod (REDIRECT's own result included: the guard
// sees it with 127.0.0.1 as destination), and what the user excluded.
func (t *target) exemptions(f Family) []Rule {
	ret := func(r Rule) Rule {
		r.Jump = "RETURN"
		return r
	}
	rules := []Rule{
		ret(Rule{UID: &t.cfg.ProxyUID}),
		ret(Rule{Out: "lo"}),
	}
	for _, ports := range chunks(canonical(t.cfg.ExcludePorts)) {
		rules = append(rules, ret(Rule{TCP: true, Ports: ports}))
	}
	for _, uid := range canonical(t.cfg.ExcludeUIDs) {
		if uid != t.cfg.ProxyUID {
			rules = append(rules, ret(Rule{UID: &uid}))
		}
	}
	for _, p := range t.set.Excluded() {
		if f.of(p) {
			rules = append(rules, ret(Rule{Destination: p}))
		}
	}
	return rules
}

// canonical sorts and drops duplicates, so that equal wishes are equal rules.
func canonical[T uint16 | uint32](values []T) []T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// String is the whole ruleset as one text in the manner of iptables-save: what
// apply feeds to iptables-restore --noflush in a namespace without our rules.
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
