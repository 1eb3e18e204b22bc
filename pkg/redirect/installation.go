// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelprobe"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// installation is one family of one backend in which there is something of ours.
type installation struct {
	opened
	all map[string]map[string][]rule.Listed // table → chain → rules, those of others too
}

// find looks for our chains in each family and in each backend that the options allow. A
// backend whose program is missing is skipped: a program that the image does not have cannot
// have made rules. Any other backend that cannot be read is an error, as it may hide rules.
func (n *namespace) find() ([]installation, error) {
	var all []installation
	var failed []error
	read := 0
	for _, f := range bothFamilies() {
		for _, b := range bothBackends() {
			if n.backend != BackendAuto && n.backend != b {
				continue
			}
			one, err := n.findIn(f, b)
			switch {
			case errors.Is(err, ErrMissingBinary):
				n.log.Debug("nothing to find: the program is missing", "family", f, "backend", b)
				failed = append(failed, err)
			case err != nil:
				return nil, err
			default:
				read++
				if !one.state.empty() || one.hasProbe() {
					all = append(all, one)
				}
			}
		}
	}
	if read == 0 {
		return nil, mostTelling(failed)
	}
	return all, nil
}

// findIn reads all chains of our tables in one family and backend.
func (n *namespace) findIn(f Family, b Backend) (installation, error) {
	t, err := n.open(f, b)
	if err != nil {
		return installation{}, err
	}
	s, err := readState(t)
	if err != nil {
		return installation{}, err
	}
	one := installation{opened: opened{family: f, backend: b, tables: t, state: s}, all: map[string]map[string][]rule.Listed{}}
	for _, table := range ourTables() {
		lines, err := t.List(table)
		if err != nil {
			return installation{}, err
		}
		one.all[table] = map[string][]rule.Listed{}
		for name, lines := range lines {
			if one.all[table][name], err = rule.ParseChain(lines); err != nil {
				return installation{}, fmt.Errorf("%s (%s) table %s: %w", f, b, table, err)
			}
		}
	}
	return one, nil
}

// hasProbe reports whether a probe of the kernel was interrupted and left a chain.
func (i installation) hasProbe() bool {
	for _, chains := range i.all {
		for name := range chains {
			if kernelprobe.IsChain(name) {
				return true
			}
		}
	}
	return false
}

// jumps lists the rules of others' chains that lead to ours.
func (i installation) jumps() []string {
	var all []string
	for _, table := range ourTables() {
		for _, name := range slices.Sorted(maps.Keys(i.all[table])) {
			for _, l := range i.all[table][name] {
				if !isOurs(table, name) && leadsToOurs(l, table) {
					all = append(all, fmt.Sprintf("%s (%s) table %s chain %s: %s", i.family, i.backend, table, name, l.Raw))
				}
			}
		}
	}
	return all
}

// chainNames lists our chains for people.
func (i installation) chainNames() []string {
	var names []string
	for _, table := range slices.Backward(ourTables()) {
		for _, name := range slices.Sorted(maps.Keys(i.all[table])) {
			if isOurs(table, name) {
				names = append(names, fmt.Sprintf("%s (%s) table %s chain %s", i.family, i.backend, table, name))
			}
		}
	}
	return names
}
