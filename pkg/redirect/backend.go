// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// opened is one family of one backend, after its programs were found and its rules read.
type opened struct {
	family  Family
	backend Backend
	tables  tables
	state   *state
	// foreignNAT is set if table nat of legacy holds rules of other programs.
	foreignNAT bool
}

// chosen is the backend to use for a family.
type chosen struct {
	opened
	// other is the other backend if our chains are there too, and else empty.
	other Backend
}

// openAndRead opens and reads one family of one backend.
func (n *namespace) openAndRead(f Family, b Backend) (opened, error) {
	t, err := n.open(f, b)
	if err != nil {
		return opened{}, err
	}
	s, err := readState(t)
	if err != nil {
		return opened{}, err
	}
	st := opened{family: f, backend: b, tables: t, state: s}
	if b != BackendLegacy {
		return st, nil
	}
	all, err := t.List(tableNAT)
	if err != nil {
		return opened{}, err
	}
	for name, lines := range all {
		rules, err := rule.ParseChain(lines)
		if err != nil {
			return opened{}, fmt.Errorf("%s (%s) table nat: %w", f, b, err)
		}
		if isOurs(tableNAT, name) {
			continue
		}
		st.foreignNAT = st.foreignNAT || slices.ContainsFunc(rules, func(l rule.Listed) bool { return !leadsToOurs(l, tableNAT) })
	}
	return st, nil
}

// suggestsOther reports whether the error of one backend is a reason to use the other one.
// An error that may pass is no reason, such as a lock that is held, or a rule that another
// program has just changed. With a second backend, both would be in force later.
func suggestsOther(err error) bool {
	return errors.Is(err, ErrMissingModule) || errors.Is(err, ErrMissingBinary) || errors.Is(err, ErrPermission)
}

// candidates opens both backends of a family. The error is one that may pass, or the most
// telling one if no backend may be used.
func (n *namespace) candidates(f FamilyRules) (survey, error) {
	s := survey{rules: f}
	for _, b := range bothBackends() {
		st, err := n.openAndRead(f.Family, b)
		if err != nil {
			n.log.Debug("backend cannot be used", "family", f.Family, "backend", b, "error", err)
			if !errors.Is(err, ErrMissingModule) && !errors.Is(err, ErrMissingBinary) {
				s.unseen = append(s.unseen, err)
			}
			if n.backend != BackendAuto && n.backend != b {
				continue
			}
			if !suggestsOther(err) {
				return s, err
			}
			s.failed = append(s.failed, err)
			continue
		}
		s.open = append(s.open, st)
	}
	s.usable = slices.DeleteFunc(slices.Clone(s.open), func(st opened) bool {
		return n.backend != BackendAuto && n.backend != st.backend
	})
	if len(s.usable) == 0 {
		return s, mostTelling(s.failed)
	}
	// The sort is stable: at equal rank nft comes before legacy.
	slices.SortStableFunc(s.usable, func(a, b opened) int { return b.rank() - a.rank() })
	return s, nil
}

// rank is higher for a backend that is the better choice. Our chains stay in the backend
// that has them already, also if other programs have added rules to the other one since:
// after a move, two redirects would be in force.
func (st opened) rank() int {
	switch {
	case !st.state.empty():
		return 2
	case st.foreignNAT:
		return 1
	default:
		return 0
	}
}

// survey is what there is to choose from for one family.
type survey struct {
	rules  FamilyRules
	open   []opened // backends that could be read
	usable []opened // those of them that the options allow, best first
	failed []error  // errors of backends that the options allow
	unseen []error  // errors of backends that may hold rules nevertheless
}

// survey reads the backends of every family that has rules, and changes nothing.
func (n *namespace) survey(rs *Ruleset) ([]survey, error) {
	var all []survey
	for _, f := range rs.Families {
		s, err := n.candidates(f)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// choose picks the backend for a family. If commit is set and our rules are not there yet,
// choose makes sure that the kernel can do what they need, in a chain that exists for a
// moment. If commit is not set, it only reads.
func (n *namespace) choose(s survey, commit bool) (chosen, error) {
	failed := slices.Clone(s.failed)
	for i, st := range s.usable {
		if commit && s.rules.script(st.state) != "" {
			err := probeKernel(st)
			if err != nil && !suggestsOther(err) {
				return chosen{}, err
			}
			if err != nil {
				failed = append(failed, err)
				continue
			}
		}
		c := chosen{opened: st}
		for _, o := range s.open {
			if o.backend != st.backend && !o.state.empty() {
				c.other = o.backend
			}
		}
		for _, err := range s.unseen {
			n.log.Warn("the other backend cannot be read: rules that stand there, of ours or of others, are in force and not seen", "family", st.family, "error", err)
		}
		if i > 0 {
			n.log.Warn("took the second choice of backend", "family", st.family, "backend", st.backend, "error", errors.Join(failed...))
		}
		return c, nil
	}
	return chosen{}, mostTelling(failed)
}

// mostTelling returns the error that says most. For example, if a capability is missing for
// one backend, it is of no use to read that the program of the other is missing.
func mostTelling(failed []error) error {
	for _, kind := range []error{ErrPermission, ErrMissingModule} {
		for _, err := range failed {
			if errors.Is(err, kind) {
				return err
			}
		}
	}
	for _, err := range failed {
		if !errors.Is(err, ErrMissingBinary) {
			return err
		}
	}
	return failed[0]
}
