// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// standing is one family of one backend, opened and read.
type standing struct {
	family  Family
	backend Backend
	tables  tables
	state   *state
	// foreignNAT is set where table nat of legacy holds rules of others.
	foreignNAT bool
}

// chosen is the backend to use for a family.
type chosen struct {
	standing
	// other is the other backend where our chains stand there too.
	other Backend
}

// look opens and reads one family of one backend.
func (n *namespace) look(f Family, b Backend) (standing, error) {
	t, err := n.open(f, b)
	if err != nil {
		return standing{}, err
	}
	s, err := read(t)
	if err != nil {
		return standing{}, err
	}
	st := standing{family: f, backend: b, tables: t, state: s}
	if b != BackendLegacy {
		return st, nil
	}
	all, err := t.List(tableNAT)
	if err != nil {
		return standing{}, err
	}
	for name, lines := range all {
		rules, err := parseChain(lines)
		if err != nil {
			return standing{}, fmt.Errorf("%s (%s) table nat: %w", f, b, err)
		}
		if isOurs(tableNAT, name) {
			continue
		}
		st.foreignNAT = st.foreignNAT || slices.ContainsFunc(rules, func(l listed) bool { return !l.leadsToOurs(tableNAT) })
	}
	return st, nil
}

// suggestsOther reports whether the error of one backend is a reason to use the
// other one. What passes, such as a lock that is held or a rule that another
// program has just changed, is none: both backends would be in force then.
func suggestsOther(err error) bool {
	return errors.Is(err, ErrMissingModule) || errors.Is(err, ErrMissingBinary) || errors.Is(err, ErrPermission)
}

// candidates looks at both backends of a family. The error is that of the most
// telling failure, where none may be used, or one that may pass.
func (n *namespace) candidates(f FamilyRules) (survey, error) {
	s := survey{rules: f}
	for _, b := range []Backend{BackendNFT, BackendLegacy} {
		st, err := n.look(f.Family, b)
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
	s.usable = slices.DeleteFunc(slices.Clone(s.open), func(st standing) bool {
		return n.backend != BackendAuto && n.backend != st.backend
	})
	if len(s.usable) == 0 {
		return s, tellingOf(s.failed)
	}
	// Stable: nft before legacy where nothing else decides.
	slices.SortStableFunc(s.usable, func(a, b standing) int { return b.rank() - a.rank() })
	return s, nil
}

// rank says how much speaks for a backend. Where our chains stand already is
// where they stay, whatever others have added since: moving them would leave
// two redirects in force.
func (st standing) rank() int {
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
	open   []standing // all that could be read
	usable []standing // those of them that may be used, best first
	failed []error    // of those that might have been used
	unseen []error    // of those that may hold rules all the same
}

// survey looks at every family that has rules, and changes nothing.
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

// choose picks the backend for a family. With commit it makes sure, in a chain
// that exists for a moment, that the kernel can do what our rules need, unless
// they stand already; without, it only reads.
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
		c := chosen{standing: st}
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
	return chosen{}, tellingOf(failed)
}

// tellingOf picks the error that says most: with a capability missing, that
// the other backend's program is missing too is of no use.
func tellingOf(failed []error) error {
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

// feature is one thing that our rules need of a kernel.
type feature struct {
	table, name string
	rule        Rule
	module      map[Backend]string
}

const matchOwner = "match owner"

func features(f Family) []feature {
	uid, reject, mangle := uint32(0), "ipt_REJECT", "iptable_mangle"
	if f == IPv6 {
		reject, mangle = "ip6t_REJECT", "ip6table_mangle"
	}
	both := func(module string) map[Backend]string {
		return map[Backend]string{BackendNFT: module, BackendLegacy: module}
	}
	return []feature{
		{tableMangle, "table mangle", Rule{Out: "! lo", TCP: true, Jump: "DROP"}, map[Backend]string{BackendNFT: "nf_tables", BackendLegacy: mangle}},
		{tableFilter, "target REJECT", Rule{TCP: true, Jump: "REJECT", RejectWith: "tcp-reset"}, map[Backend]string{BackendNFT: "nft_reject_inet", BackendLegacy: reject}},
		{tableFilter, matchOwner, Rule{UID: &uid, Jump: "RETURN"}, both("xt_owner")},
		{tableFilter, "match conntrack", Rule{NotTCP: true, CTDir: "REPLY", Jump: "RETURN"}, both("xt_conntrack")},
		{tableNAT, "match multiport", Rule{TCP: true, Ports: []uint16{1, 2}, Jump: "RETURN"}, both("xt_multiport")},
		{tableNAT, "target REDIRECT", Rule{TCP: true, Jump: "REDIRECT", ToPort: 1}, map[Backend]string{BackendNFT: "nft_chain_nat, nft_redir and xt_REDIRECT", BackendLegacy: "xt_REDIRECT"}},
	}
}

// probeKernel commits and deletes chains that nothing jumps to, with one rule
// of each kind, so that what the kernel lacks is known before anything is
// changed. Where it fails, each kind is tried alone, so as to name it. The
// caller holds the namespace's lock.
func probeKernel(st standing) error {
	if err := removeProbes(st); err != nil { // of a process that was killed
		return err
	}
	all := features(st.family)
	err := tryFeatures(st, all)
	if err == nil || slices.ContainsFunc([]error{ErrPermission, ErrMissingBinary, ErrBusy, context.Canceled, context.DeadlineExceeded},
		func(kind error) bool { return errors.Is(err, kind) }) {
		return err // says nothing about the kernel
	}
	var missing, modules []string
	for _, one := range all {
		if tryFeatures(st, []feature{one}) != nil {
			missing = append(missing, one.name)
			modules = append(modules, one.module[st.backend])
		}
	}
	switch len(missing) {
	case 0:
		// The kernel has each of them, so another program was in the way.
		if err := tryFeatures(st, all); err != nil {
			return &KernelError{
				Op:   fmt.Sprintf("%s, %s: try what our rules need", st.family, st.backend),
				Cure: "each of them works alone: look for a program that changes the rules of this namespace at the same time, and try again",
				Err:  errors.New(err.Error()), // of no kind: nothing is missing
			}
		}
		return nil
	case len(all): // the cause is another
		return err
	}
	cure := "load kernel module " + strings.Join(modules, ", ") + " on the node, or use the other backend (Options.Backend)"
	if slices.Equal(missing, []string{matchOwner}) {
		// owner_check of net/netfilter/xt_owner.c, for both backends.
		cure = "load kernel module xt_owner on the node; where it has that, the pod has a user namespace of its own (hostUsers: false), " +
			"and its rules can be made only inside of the pod, by its init container or by kubectl debug"
	}
	return &KernelError{
		Op:   fmt.Sprintf("%s, %s: try %s", st.family, st.backend, strings.Join(missing, ", ")),
		Cure: cure,
		Err:  fmt.Errorf("%w (%w)", ErrMissingModule, err),
	}
}

func tryFeatures(st standing, some []feature) error {
	chain := probeChain()
	var commit, remove string
	for _, table := range ourTables() {
		var lines []string
		for _, f := range some {
			if f.table == table {
				lines = append(lines, fmt.Sprintf("-A %s %s", chain, f.rule))
			}
		}
		if len(lines) == 0 {
			continue
		}
		commit += transaction(table, append([]string{":" + chain + " - [0:0]"}, lines...))
		remove += transaction(table, []string{"-F " + chain, "-X " + chain})
	}
	if err := st.tables.Restore(commit); err != nil {
		// The first table may have been committed before the second failed.
		// The probe's own error says more than one of removing it.
		_ = removeProbes(st)
		return err
	}
	if err := st.tables.Restore(remove); err != nil {
		// Another program may have removed every chain that it found empty.
		return removeProbes(st)
	}
	return nil
}

// probeChain names a chain for one probe. The name is new each time, so that
// what another program does to the last one does not look like the kernel's
// answer. iptables takes 28 characters (XT_EXTENSION_MAXNAMELEN).
func probeChain() string {
	return fmt.Sprintf("%s_%08x", chainProbe, rand.Uint32())
}

// removeProbes deletes the chains of probes that did not end as they should.
func removeProbes(st standing) error {
	var script string
	for _, table := range ourTables() {
		chains, err := st.tables.List(table)
		if err != nil {
			return err
		}
		var lines []string
		for _, name := range sortedKeys(chains) {
			if isProbe(name) {
				lines = append(lines, "-F "+name, "-X "+name)
			}
		}
		script += transaction(table, lines)
	}
	if script == "" {
		return nil
	}
	return st.tables.Restore(script)
}
