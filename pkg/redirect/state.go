// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// tables is one family of one backend, the seam between this package and
// iptables. A fake of it is strict: what a test does not expect fails.
type tables interface {
	// List returns `iptables -v -S` of the named chains of a table, without
	// names of all. A chain or a table that does not exist is left out, and
	// is not made by looking.
	List(table string, chains ...string) (map[string][]string, error)
	// Restore feeds script to iptables-restore --noflush. Each table of it is
	// one transaction, in order.
	Restore(script string) error
}

// state is what stands in one family of one backend, as far as it is ours.
type state struct {
	chains map[chainID][]listed // ours only; an empty chain has an entry
	entry  map[string][]listed  // table → its builtin chain that leads to ours
}

type chainID struct{ table, name string }

func ours() []chainID {
	return []chainID{{tableMangle, ChainGuard}, {tableFilter, ChainGuard}, {tableNAT, ChainOutput}, {tableNAT, ChainRedirect}}
}

// isOurs reports whether a jump to name leads to one of our chains.
func isOurs(table, name string) bool {
	return slices.Contains(ours(), chainID{table, name}) || isProbe(name)
}

// isProbe reports whether a chain is that of a probe of the kernel, also of an
// older version, which had one name for all.
func isProbe(name string) bool {
	return name == chainProbe || strings.HasPrefix(name, chainProbe+"_")
}

// leadsTo reports whether a rule jumps, or goes (-g), to a chain.
func (l listed) leadsTo(name string) bool { return l.target() == name }

// leadsToOurs reports whether a rule leads to one of our chains.
func (l listed) leadsToOurs(table string) bool { return isOurs(table, l.target()) }

// target is the chain or target that a rule hands packets to, "" for none.
func (l listed) target() string {
	if l.rule.Jump != "" {
		return l.rule.Jump
	}
	words := " " + l.rule.foreign
	if i := strings.LastIndex(words, " -g "); i >= 0 {
		return words[i+len(" -g "):]
	}
	return ""
}

// read lists our chains and the builtin ones that lead to them. It changes nothing.
func read(t tables) (*state, error) {
	s := &state{chains: map[chainID][]listed{}, entry: map[string][]listed{}}
	for _, table := range ourTables() {
		names := []string{builtin(table)}
		for _, id := range ours() {
			if id.table == table {
				names = append(names, id.name)
			}
		}
		lines, err := t.List(table, names...)
		if err != nil {
			return nil, err
		}
		for name, lines := range lines {
			rules, err := parseChain(lines)
			if err != nil {
				return nil, fmt.Errorf("table %s: %w", table, err)
			}
			if name == builtin(table) {
				s.entry[table] = rules
			} else {
				s.chains[chainID{table, name}] = rules
			}
		}
	}
	return s, nil
}

// parseChain reads the rules in a listing, and skips the lines that declare
// the chain (-N, -P) or warn (#).
func parseChain(lines []string) ([]listed, error) {
	rules := []listed{}
	for _, line := range lines {
		if !strings.HasPrefix(line, "-A ") {
			continue
		}
		rule, err := parseRule(line)
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	return rules, nil
}

// empty reports whether nothing of ours stands.
func (s *state) empty() bool {
	if len(s.chains) > 0 {
		return false
	}
	for table, rules := range s.entry {
		for _, l := range rules {
			if l.leadsToOurs(table) {
				return false
			}
		}
	}
	return true
}

// jumps returns the rules of the builtin chain that lead to c, and whether that is
// exactly one, without conditions, before all else.
func (s *state) jumps(c Chain) (rules []listed, right bool) {
	entry := s.entry[c.Table]
	for _, l := range entry {
		if l.leadsTo(c.Name) {
			rules = append(rules, l)
		}
	}
	plain := Rule{Jump: c.Name}
	return rules, len(rules) == 1 && entry[0].rule.String() == plain.String()
}

// same reports whether chain c stands as it should, its jump aside.
func (s *state) same(c Chain) bool {
	have, ok := s.chains[chainID{c.Table, c.Name}]
	return ok && slices.EqualFunc(have, c.Rules, func(l listed, r Rule) bool { return l.rule.String() == r.String() })
}

// differences lists, in words, how the state differs from what is wanted.
func (s *state) differences(f FamilyRules, backend Backend) []string {
	var all []string
	for _, c := range f.Chains {
		where := fmt.Sprintf("%s (%s) table %s chain ", f.Family, backend, c.Table)
		for _, d := range s.chainDifferences(c) {
			all = append(all, where+c.Name+": "+d)
		}
		if !c.First {
			continue
		}
		if rules, right := s.jumps(c); !right {
			all = append(all, where+builtin(c.Table)+": "+s.jumpProblem(c, rules))
		}
	}
	return all
}

func (s *state) chainDifferences(c Chain) []string {
	have, ok := s.chains[chainID{c.Table, c.Name}]
	if !ok {
		return []string{"is missing"}
	}
	// Only what lies between the rules that are right at both ends: one rule that
	// is missing would make each behind it look wrong.
	right := func(l listed, r Rule) bool { return l.rule.String() == r.String() }
	before := 0
	for before < min(len(have), len(c.Rules)) && right(have[before], c.Rules[before]) {
		before++
	}
	have, want := have[before:], c.Rules[before:]
	for len(have) > 0 && len(want) > 0 && right(have[len(have)-1], want[len(want)-1]) {
		have, want = have[:len(have)-1], want[:len(want)-1]
	}
	var all []string
	for i := range max(len(have), len(want)) {
		number := before + i + 1
		switch {
		case i >= len(have):
			all = append(all, fmt.Sprintf("rule %d is missing: %s", number, want[i]))
		case i >= len(want):
			all = append(all, fmt.Sprintf("rule %d is not ours: %s", number, have[i].raw))
		default:
			all = append(all, fmt.Sprintf("rule %d is %q, and should be %q", number, have[i].raw, want[i]))
		}
	}
	return all
}

func (s *state) jumpProblem(c Chain, jumps []listed) string {
	switch {
	case len(jumps) == 0:
		return fmt.Sprintf("the jump to %s is missing", c.Name)
	case len(jumps) > 1:
		return fmt.Sprintf("jumps to %s %d times, and should once", c.Name, len(jumps))
	case !s.entry[c.Table][0].leadsTo(c.Name):
		return fmt.Sprintf("%q stands before the jump to %s, which has to be first", s.entry[c.Table][0].raw, c.Name)
	default:
		return fmt.Sprintf("the jump to %s has conditions: %q", c.Name, jumps[0].raw)
	}
}

// host is the prefix of one address.
func host(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
