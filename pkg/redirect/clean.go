// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CleanOptions say how much [Clean] takes away.
type CleanOptions struct {
	// Drain keeps the connections that are redirected now: nothing leads to
	// the REDIRECT rule any more, but it stays, since without it the kernel
	// would stop translating them, and the guard stays and rejects new ones.
	// Clean without Drain takes away the rest, once they have ended.
	Drain bool
}

// Cleaned is what [Clean] did.
type Cleaned struct {
	// Removed holds what was taken away, one line each.
	Removed []string
	// Live counts the redirected connections that were open: without Drain
	// they break.
	Live int
}

// Clean takes our chains, address and routes away, of both families and, where
// opt.Backend is auto, of both backends. Where there is nothing, it does
// nothing. Then the shoot's traffic leaves the pod as if we had never been
// there.
func Clean(ctx context.Context, opt Options, how CleanOptions) (*Cleaned, error) {
	cleaned := &Cleaned{}
	err := inside(ctx, opt, func(n *namespace) error {
		found, err := n.find()
		if err != nil {
			return err
		}
		cleaned.Live = n.countLive(found)
		if how.Drain {
			return n.drain(found, cleaned)
		}
		if err := n.clean(found, cleaned); err != nil {
			return err
		}
		return n.checkGone()
	})
	return cleaned, err
}

// found is one family of one backend in which something of ours stands.
type found struct {
	standing
	all map[string]map[string][]listed // table → chain → rules
}

// find looks for our chains everywhere that opt allows. A backend that cannot
// be read is an error only where that hides something: a program that the image
// does not have cannot have made rules.
func (n *namespace) find() ([]found, error) {
	var some []found
	var failed []error
	read := 0
	for _, f := range []Family{IPv4, IPv6} {
		for _, b := range []Backend{BackendNFT, BackendLegacy} {
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
				if !one.state.empty() || one.probeLeft() {
					some = append(some, one)
				}
			}
		}
	}
	if read == 0 {
		return nil, tellingOf(failed)
	}
	return some, nil
}

func (n *namespace) findIn(f Family, b Backend) (found, error) {
	t, err := n.open(f, b)
	if err != nil {
		return found{}, err
	}
	s, err := read(t)
	if err != nil {
		return found{}, err
	}
	one := found{standing: standing{family: f, backend: b, tables: t, state: s}, all: map[string]map[string][]listed{}}
	for _, table := range ourTables() {
		lines, err := t.List(table)
		if err != nil {
			return found{}, err
		}
		one.all[table] = map[string][]listed{}
		for name, lines := range lines {
			if one.all[table][name], err = parseChain(lines); err != nil {
				return found{}, fmt.Errorf("%s (%s) table %s: %w", f, b, table, err)
			}
		}
	}
	return one, nil
}

// probeLeft reports whether a probe of the kernel was interrupted.
func (f found) probeLeft() bool {
	for _, chains := range f.all {
		for name := range chains {
			if isProbe(name) {
				return true
			}
		}
	}
	return false
}

func (n *namespace) clean(some []found, cleaned *Cleaned) error {
	if cleaned.Live > 0 {
		n.log.Warn("live redirected connections break: call redirect.Clean with CleanOptions.Drain first to let them end", "connections", cleaned.Live)
	}
	// Routes first: without rules they would let the shoot's traffic out.
	steps, err := unreachSteps()
	if err != nil {
		return err
	}
	if err := run(steps); err != nil {
		return err
	}
	for _, s := range steps {
		cleaned.Removed = append(cleaned.Removed, s.text)
	}
	for _, f := range some {
		if err := f.tables.Restore(removal(f.all)); err != nil {
			return err
		}
		cleaned.Removed = append(cleaned.Removed, f.names()...)
	}
	return nil
}

// checkGone looks again: that the children exited with 0 does not prove that
// what they were asked to remove is gone.
func (n *namespace) checkGone() error {
	some, err := n.find()
	if err != nil {
		return err
	}
	var left []string
	for _, f := range some {
		left = append(left, append(f.names(), f.jumps()...)...)
	}
	if len(left) == 0 {
		return nil
	}
	return &KernelError{
		Op:   "remove our rules",
		Cure: "another program puts them back or keeps them: look for it, and call redirect.Clean again",
		Err:  fmt.Errorf("iptables reported success, and these still stand: %s", strings.Join(left, ", ")),
	}
}

// jumps lists the rules of others' chains that lead to ours.
func (f found) jumps() []string {
	var all []string
	for _, table := range ourTables() {
		for _, name := range sortedKeys(f.all[table]) {
			for _, l := range f.all[table][name] {
				if !isOurs(table, name) && l.leadsToOurs(table) {
					all = append(all, fmt.Sprintf("%s (%s) table %s chain %s: %s", f.family, f.backend, table, name, l.raw))
				}
			}
		}
	}
	return all
}

// names lists our chains for people.
func (f found) names() []string {
	var names []string
	for _, table := range slices.Backward(ourTables()) {
		for _, name := range sortedKeys(f.all[table]) {
			if isOurs(table, name) {
				names = append(names, fmt.Sprintf("%s (%s) table %s chain %s", f.family, f.backend, table, name))
			}
		}
	}
	return names
}

func (n *namespace) drain(some []found, cleaned *Cleaned) error {
	for _, f := range some {
		if _, ok := f.all[tableNAT][ChainOutput]; !ok {
			continue
		}
		if err := f.tables.Restore(draining()); err != nil {
			return err
		}
		cleaned.Removed = append(cleaned.Removed, fmt.Sprintf("%s (%s) table nat chain %s: what led to the redirect", f.family, f.backend, ChainOutput))
	}
	return nil
}

// countLive counts the connections that our rules redirected. It is for a
// warning, so a kernel that does not tell is no error.
func (n *namespace) countLive(some []found) int {
	var ports []uint16
	for _, f := range some {
		ports = append(ports, f.state.redirectPorts()...)
	}
	connections, _, err := connections(ports)
	if err != nil {
		n.log.Debug("live connections cannot be counted", "error", err)
	}
	return len(slices.DeleteFunc(connections, func(c Connection) bool { return !c.Live() }))
}
