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

// feature is one thing that our rules need from a kernel.
type feature struct {
	table, name string
	rule        Rule // a rule that needs it
	module      map[Backend]string
}

const matchOwner = "match owner"

// features returns what the rules of a family need.
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

// probeKernel commits and deletes chains with one rule for each feature. No rule jumps to
// them. So what the kernel lacks is known before anything is changed. If that fails, each
// feature is tried alone, so that the error can name it. The caller holds the namespace's
// lock.
func probeKernel(st opened) error {
	if err := removeProbes(st); err != nil { // chains of a process that was killed
		return err
	}
	all := features(st.family)
	err := tryFeatures(st, all)
	if err == nil || slices.ContainsFunc([]error{ErrPermission, ErrMissingBinary, ErrBusy, context.Canceled, context.DeadlineExceeded},
		func(kind error) bool { return errors.Is(err, kind) }) {
		return err // it says nothing about the kernel
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
		// The kernel has each of them, so another program interfered.
		if err := tryFeatures(st, all); err != nil {
			return &KernelError{
				Op:   fmt.Sprintf("%s, %s: try what our rules need", st.family, st.backend),
				Cure: "each of them works alone: look for a program that changes the rules of this namespace at the same time, and try again",
				Err:  errors.New(err.Error()), // without its kind: nothing is missing
			}
		}
		return nil
	case len(all): // there is another cause
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

// tryFeatures commits a chain with the rules of some features, and deletes it.
func tryFeatures(st opened, some []feature) error {
	chain := newProbeChain()
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
		// The first table may have been committed before the second failed. The error
		// of the probe says more than an error of its removal.
		_ = removeProbes(st)
		return err
	}
	if err := st.tables.Restore(remove); err != nil {
		// Another program may have deleted all chains that no rule jumps to.
		return removeProbes(st)
	}
	return nil
}

// newProbeChain returns the name of a chain for one probe. The name is new each time. So what
// another program does to an earlier chain is not taken for the kernel's answer. iptables
// allows 28 characters (XT_EXTENSION_MAXNAMELEN).
func newProbeChain() string {
	return fmt.Sprintf("%s_%08x", chainProbe, rand.Uint32())
}

// removeProbes deletes the chains of probes that were interrupted.
func removeProbes(st opened) error {
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
