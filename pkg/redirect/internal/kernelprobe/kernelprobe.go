// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package kernelprobe finds out what a kernel lacks before any rule is changed.
//
// It owns the chains PROXY_CLIENT_PROBE_…, which exist for a moment and to which no rule
// jumps. It never touches another chain. Which features matter is for the caller to say.
package kernelprobe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
)

// ChainPrefix begins the name of each chain.
const ChainPrefix = "PROXY_CLIENT_PROBE"

// IsChain reports whether a chain is that of a probe. Older versions had one name for all
// probes.
func IsChain(name string) bool {
	return name == ChainPrefix || strings.HasPrefix(name, ChainPrefix+"_")
}

// MatchOwner is the name of the feature that a kernel can have and refuse nevertheless, in
// another user namespace.
const MatchOwner = "match owner"

// Feature is one thing that a kernel can have.
type Feature struct {
	Table, Name string
	// Rule is a rule that needs the feature, without table and chain.
	Rule string
	// Module is the kernel module that has the feature, for each backend.
	Module map[iptables.Backend]string
}

// Tables reads and changes rules; see package iptables.
type Tables interface {
	List(table string, chains ...string) (map[string][]string, error)
	Restore(script string) error
}

// Kernel is what to try, and with which iptables.
type Kernel struct {
	Family  family.Family
	Backend iptables.Backend
	Tables  Tables
	// TableNames are the tables that can have chains of probes, in the order in which
	// they are committed.
	TableNames []string
	Features   []Feature
}

// Run tries the features. If that fails, it tries each of them alone, so that the error can
// name what is missing. The caller holds the lock of the network namespace.
func (k Kernel) Run() error {
	if err := k.remove(); err != nil { // chains of a process that was killed
		return err
	}
	err := k.try(k.Features)
	if err == nil || slices.ContainsFunc([]error{
		kernelerror.ErrPermission, kernelerror.ErrMissingBinary, kernelerror.ErrBusy, context.Canceled, context.DeadlineExceeded,
	},
		func(kind error) bool { return errors.Is(err, kind) }) {
		return err // it says nothing about the kernel
	}
	var missing, modules []string
	for _, one := range k.Features {
		if k.try([]Feature{one}) != nil {
			missing = append(missing, one.Name)
			modules = append(modules, one.Module[k.Backend])
		}
	}
	switch len(missing) {
	case 0:
		// The kernel has each of them, so another program interfered.
		if err := k.try(k.Features); err != nil {
			return &kernelerror.Error{
				Op:   fmt.Sprintf("%s, %s: try what our rules need", k.Family, k.Backend),
				Cure: "each of them works alone: look for a program that changes the rules of this namespace at the same time, and try again",
				Err:  errors.New(err.Error()), // without its kind: nothing is missing
			}
		}
		return nil
	case len(k.Features): // there is another cause
		return err
	}
	cure := "load kernel module " + strings.Join(modules, ", ") + " on the node, or use the other backend (Options.Backend)"
	if slices.Equal(missing, []string{MatchOwner}) {
		// owner_check of net/netfilter/xt_owner.c, for both backends.
		cure = "load kernel module xt_owner on the node; where it has that, the pod has a user namespace of its own (hostUsers: false), " +
			"and its rules can be made only inside of the pod, by its init container or by kubectl debug"
	}
	return &kernelerror.Error{
		Op:   fmt.Sprintf("%s, %s: try %s", k.Family, k.Backend, strings.Join(missing, ", ")),
		Cure: cure,
		Err:  fmt.Errorf("%w (%w)", kernelerror.ErrMissingModule, err),
	}
}

// try commits a chain with the rules of some features, and deletes it.
func (k Kernel) try(some []Feature) error {
	chain := newChain()
	var commit, remove string
	for _, table := range k.TableNames {
		var lines []string
		for _, f := range some {
			if f.Table == table {
				lines = append(lines, fmt.Sprintf("-A %s %s", chain, f.Rule))
			}
		}
		if len(lines) == 0 {
			continue
		}
		commit += iptables.Transaction(table, append([]string{":" + chain + " - [0:0]"}, lines...))
		remove += iptables.Transaction(table, []string{"-F " + chain, "-X " + chain})
	}
	if err := k.Tables.Restore(commit); err != nil {
		// The first table may have been committed before the second failed. The error
		// of the probe says more than an error of its removal.
		_ = k.remove()
		return err
	}
	if err := k.Tables.Restore(remove); err != nil {
		// Another program may have deleted all chains that no rule jumps to.
		return k.remove()
	}
	return nil
}

// newChain returns the name of a chain for one probe. The name is new each time. So what
// another program does to an earlier chain is not taken for the kernel's answer. iptables
// allows 28 characters (XT_EXTENSION_MAXNAMELEN).
func newChain() string {
	return fmt.Sprintf("%s_%08x", ChainPrefix, rand.Uint32())
}

// remove deletes the chains of probes that were interrupted.
func (k Kernel) remove() error {
	var script string
	for _, table := range k.TableNames {
		chains, err := k.Tables.List(table)
		if err != nil {
			return err
		}
		var lines []string
		for _, name := range slices.Sorted(maps.Keys(chains)) {
			if IsChain(name) {
				lines = append(lines, "-F "+name, "-X "+name)
			}
		}
		script += iptables.Transaction(table, lines)
	}
	if script == "" {
		return nil
	}
	return k.Tables.Restore(script)
}
