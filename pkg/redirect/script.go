// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// script returns what iptables-restore --noflush has to read so that s becomes f. It is empty
// if s is that already. A nil s is a namespace without our rules.
//
// A declaration empties a chain that differs, and the same commit fills it again: no packet
// ever meets half of it. A chain that is right is not mentioned, so that its counters stay.
func (f FamilyRules) script(s *state) string {
	if s == nil {
		s = &state{}
	}
	var text strings.Builder
	for _, table := range ourTables() {
		var declare, jump, fill []string
		for _, c := range f.Chains {
			if c.Table != table {
				continue
			}
			if !s.same(c) {
				declare = append(declare, fmt.Sprintf(":%s - [0:0]", c.Name))
				for _, r := range c.Rules {
					fill = append(fill, fmt.Sprintf("-A %s %s", c.Name, r))
				}
			}
			rules, right := s.jumps(c)
			if !c.First || right {
				continue
			}
			for _, l := range rules {
				jump = append(jump, "-D "+builtinChain(table)+" "+l.Raw)
			}
			jump = append(jump, fmt.Sprintf("-I %s 1 -j %s", builtinChain(table), c.Name))
		}
		text.WriteString(iptables.Transaction(table, slices.Concat(declare, fill, jump)))
	}
	return text.String()
}

// removal returns the script that deletes our chains. Table nat comes first, so that nothing
// for the shoot leaves the pod while its redirected connections end. all holds every chain of
// our tables.
func removal(all map[string]map[string][]rule.Listed) string {
	var script string
	for _, table := range slices.Backward(ourTables()) {
		script += removeFrom(table, all[table])
	}
	return script
}

// removeFrom returns the part of [removal] for one table.
func removeFrom(table string, chains map[string][]rule.Listed) string {
	mine := slices.DeleteFunc(slices.Sorted(maps.Keys(chains)), func(name string) bool { return !isOurs(table, name) })
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		if isOurs(table, name) {
			continue
		}
		// All chains, not only the builtin one: the kernel does not delete a chain to
		// which a rule leads.
		for _, l := range chains[name] {
			if leadsToOurs(l, table) {
				lines = append(lines, "-D "+name+" "+l.Raw)
			}
		}
	}
	for _, name := range mine {
		lines = append(lines, "-F "+name)
	}
	for _, name := range mine {
		lines = append(lines, "-X "+name)
	}
	return iptables.Transaction(table, lines)
}

// draining returns the script after which no new connection is redirected. The chain with
// the REDIRECT rule stays, though no rule leads to it any more. When the last such rule of a
// namespace is deleted, the kernel stops tracking its connections (nf_ct_netns_put), also
// those that it translates. They would break at their next packet.
func draining() string {
	return iptables.Transaction(tableNAT, []string{
		fmt.Sprintf(":%s - [0:0]", ChainOutput),
		fmt.Sprintf("-A %s -j RETURN", ChainOutput),
	})
}
