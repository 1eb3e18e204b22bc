// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netfilter

import (
	"cmp"
	"fmt"
	"slices"
)

// The hooks, as nft calls them.
const (
	HookPrerouting  = "prerouting"
	HookInput       = "input"
	HookForward     = "forward"
	HookOutput      = "output"
	HookPostrouting = "postrouting"
)

// The origins of tables.
const (
	// OriginNFT is a table that iptables-nft shows.
	OriginNFT = "nft"
	// OriginLegacy is a table of iptables-legacy.
	OriginLegacy = "legacy"
	// OriginNative is a table of nftables that iptables does not show.
	OriginNative = "native"
)

// The priorities of conntrack and of address translation (linux/netfilter_ipv4.h).
const (
	priorityConntrack   = -200
	priorityDestination = -100
	prioritySource      = 100
)

// Table is one table.
type Table struct {
	// Origin is one of the constants above.
	Origin string
	// Family is "ip", "ip6" or "inet".
	Family string
	Name   string
	// Age is nft's handle: of two tables of nf_tables the one with the larger handle is
	// newer. It is 0 if that is not known.
	Age    int
	Chains map[string]*Chain
}

// Title names the table for people.
func (t *Table) Title() string {
	if t.Origin == OriginNative {
		return fmt.Sprintf("nft table %s %s", t.Family, t.Name)
	}
	return fmt.Sprintf("%s (%s) table %s", map[string]string{"ip": "IPv4", "ip6": "IPv6"}[t.Family], t.Origin, t.Name)
}

// has reports whether the table is for a family of addresses.
func (t *Table) has(ipv6 bool) bool {
	switch t.Family {
	case "ip":
		return !ipv6
	case "ip6":
		return ipv6
	default:
		return true
	}
}

// Chain is one chain. A chain without Hook is reached by jumps alone.
type Chain struct {
	Table *Table
	Name  string
	Rules []*Rule
	// Hook is where the kernel calls a base chain.
	Hook     string
	Priority int
	// Type is "filter", "nat" or "route" for a base chain.
	Type string
	// DropPolicy is set for a base chain whose policy drops what no rule has decided.
	DropPolicy bool
	// Unread says why the rules of the chain are not known. It is empty if they are.
	Unread string
}

// Title names the chain for people.
func (c *Chain) Title() string { return c.Table.Title() + " chain " + c.Name }

// Title names the rule for people.
func (r *Rule) Title() string {
	if r.Handle != 0 {
		return fmt.Sprintf("%s: rule with handle %d", r.Chain.Title(), r.Handle)
	}
	return fmt.Sprintf("%s rule %d", r.Chain.Title(), r.Number)
}

// Ruleset is all tables of a network namespace.
type Ruleset struct{ Tables []*Table }

// bases returns the base chains of a hook in the order in which the kernel calls them. All
// chains that translate are called from one place in that order: nf_nat_register_fn of
// net/netfilter/nf_nat_core.c.
func (r *Ruleset) bases(hook string, ipv6 bool) []*Chain {
	var all []*Chain
	for _, t := range r.Tables {
		if !t.has(ipv6) {
			continue
		}
		for _, c := range t.Chains {
			if c.Hook == hook {
				all = append(all, c)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *Chain) int {
		return cmp.Or(
			cmp.Compare(a.place(), b.place()),
			cmp.Compare(a.Priority, b.Priority),
			// The newer one comes first: nf_hook_entries_grow of
			// net/netfilter/core.c. Legacy tables have no age.
			cmp.Compare(b.Table.Age, a.Table.Age),
			cmp.Compare(a.Table.Name, b.Table.Name),
			cmp.Compare(a.Name, b.Name),
		)
	})
	return all
}

// place returns the priority at which the kernel calls the chain.
func (c *Chain) place() int {
	if c.Type != "nat" {
		return c.Priority
	}
	if c.Hook == HookPostrouting || c.Hook == HookInput {
		return prioritySource
	}
	return priorityDestination
}

// tied reports whether the kernel does not tell which of two chains it calls first.
func (c *Chain) tied(other *Chain) bool {
	return c.place() == other.place() && c.Priority == other.Priority &&
		(c.Table.Origin == OriginLegacy) != (other.Table.Origin == OriginLegacy)
}
