// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelprobe"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// tables is one family of one backend: an [iptables.Tables], or the fake of a test, which
// fails the test if it gets what is not expected.
type tables interface {
	// List returns `iptables -v -S` of the named chains of a table, by chain. Without
	// names it returns all chains. A chain or a table that does not exist is left out, and
	// reading does not create it.
	List(table string, chains ...string) (map[string][]string, error)
	// Restore feeds a script to iptables-restore --noflush. Each table of the script is
	// one transaction, in order.
	Restore(script string) error
}

// state is what there is of ours in one family of one backend.
type state struct {
	chains  map[chainID][]rule.Listed // ours only; an empty chain has an entry
	builtin map[string][]rule.Listed  // table → the rules of the builtin chain that leads to ours
}

// chainID is a chain in a table.
type chainID struct{ table, name string }

// ourChains returns the chains of this package, without those of probes.
func ourChains() []chainID {
	return []chainID{{tableMangle, ChainGuard}, {tableFilter, ChainGuard}, {tableNAT, ChainOutput}, {tableNAT, ChainRedirect}}
}

// isOurs reports whether a chain is one of ours.
func isOurs(table, name string) bool {
	return slices.Contains(ourChains(), chainID{table, name}) || kernelprobe.IsChain(name)
}

// leadsTo reports whether a rule jumps, or goes (-g), to a chain.
func leadsTo(l rule.Listed, name string) bool { return l.Target() == name }

// leadsToOurs reports whether a rule leads to one of our chains.
func leadsToOurs(l rule.Listed, table string) bool { return isOurs(table, l.Target()) }

// readState reads our chains and the builtin ones that lead to them. It changes nothing.
func readState(t tables) (*state, error) {
	s := &state{chains: map[chainID][]rule.Listed{}, builtin: map[string][]rule.Listed{}}
	for _, table := range ourTables() {
		names := []string{builtinChain(table)}
		for _, id := range ourChains() {
			if id.table == table {
				names = append(names, id.name)
			}
		}
		lines, err := t.List(table, names...)
		if err != nil {
			return nil, err
		}
		for name, lines := range lines {
			rules, err := rule.ParseChain(lines)
			if err != nil {
				return nil, fmt.Errorf("table %s: %w", table, err)
			}
			if name == builtinChain(table) {
				s.builtin[table] = rules
			} else {
				s.chains[chainID{table, name}] = rules
			}
		}
	}
	return s, nil
}

// empty reports whether there is nothing of ours.
func (s *state) empty() bool {
	if len(s.chains) > 0 {
		return false
	}
	for table, rules := range s.builtin {
		for _, l := range rules {
			if leadsToOurs(l, table) {
				return false
			}
		}
	}
	return true
}

// jumps returns the rules of the builtin chain that lead to c. They are right if there is
// exactly one, without conditions, before all other rules.
func (s *state) jumps(c Chain) (rules []rule.Listed, right bool) {
	above := s.builtin[c.Table]
	for _, l := range above {
		if leadsTo(l, c.Name) {
			rules = append(rules, l)
		}
	}
	plain := Rule{Jump: c.Name}
	return rules, len(rules) == 1 && above[0].Rule.String() == plain.String()
}

// same reports whether the rules of chain c are right. It does not look at the jump to c.
func (s *state) same(c Chain) bool {
	have, ok := s.chains[chainID{c.Table, c.Name}]
	return ok && slices.EqualFunc(have, c.Rules, func(l rule.Listed, r Rule) bool { return l.Rule.String() == r.String() })
}

// differences lists, in words, how the state differs from f.
func (s *state) differences(f FamilyRules, backend Backend) []string {
	var all []string
	lost := map[string]bool{}
	for _, table := range ourTables() {
		if words := s.lost(f, table); words != "" {
			lost[table] = true
			all = append(all, fmt.Sprintf("%s (%s) table %s: %s", f.Family, backend, table, words))
		}
	}
	for _, c := range f.Chains {
		if lost[c.Table] {
			continue // each of its rules would say the same
		}
		where := fmt.Sprintf("%s (%s) table %s chain ", f.Family, backend, c.Table)
		for _, d := range s.chainDifferences(c) {
			all = append(all, where+c.Name+": "+d)
		}
		if !c.First {
			continue
		}
		if rules, right := s.jumps(c); !right {
			all = append(all, where+builtinChain(c.Table)+": "+s.jumpProblem(c, rules))
		}
	}
	return all
}

// lost says that no rule of ours stands in the chains of a table. It is empty if one does,
// or if none should.
func (s *state) lost(f FamilyRules, table string) string {
	stand, jumps, wanted := 0, 0, 0
	for _, c := range f.Chains {
		have, ok := s.chains[chainID{table, c.Name}]
		switch {
		case c.Table != table:
			continue
		case len(have) > 0:
			return ""
		case ok:
			stand++
		}
		leading, _ := s.jumps(c)
		jumps, wanted = jumps+len(leading), wanted+len(c.Rules)
	}
	switch {
	case wanted == 0:
		return ""
	case stand == 0:
		return "no chain of ours stands in it"
	case jumps == 0:
		return "our chains are empty, and no rule leads to them: something flushed the table"
	case wanted > 1:
		return "our chains are empty: something flushed them"
	default:
		return "" // the only rule is missing, and chainDifferences names it
	}
}

// chainDifferences lists, in words, how the rules of one chain differ.
func (s *state) chainDifferences(c Chain) []string {
	listed, ok := s.chains[chainID{c.Table, c.Name}]
	if !ok {
		return []string{"is missing"}
	}
	var have, shown, want []string
	for _, l := range listed {
		have, shown = append(have, l.Rule.String()), append(shown, l.Raw)
	}
	for _, r := range c.Rules {
		want = append(want, r.String())
	}
	return iptables.Differences(have, shown, want)
}

// jumpProblem says what is wrong with the jumps to a chain.
func (s *state) jumpProblem(c Chain, jumps []rule.Listed) string {
	switch {
	case len(jumps) == 0:
		return fmt.Sprintf("the jump to %s is missing", c.Name)
	case len(jumps) > 1:
		return fmt.Sprintf("jumps to %s %d times, and should once", c.Name, len(jumps))
	case !leadsTo(s.builtin[c.Table][0], c.Name):
		return fmt.Sprintf("%q stands before the jump to %s, which has to be first", s.builtin[c.Table][0].Raw, c.Name)
	default:
		return fmt.Sprintf("the jump to %s has conditions: %q", c.Name, jumps[0].Raw)
	}
}
