// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Change is what one family needs, or needed.
type Change struct {
	Family  Family
	Backend Backend
	// Script is the input of iptables-restore --noflush; empty where the
	// rules stand already.
	Script string
	// Reach holds what is done by netlink, in the words of ip(8): for sockets
	// bound to a device, and for a pod that has no address of the family.
	Reach []string
	// OtherBackend is the other backend where it holds chains of ours too,
	// else empty. Both are in force then.
	OtherBackend Backend
}

// Result is what [Apply] did, or [Plan] would do.
type Result struct {
	Changes []Change
}

// Changed reports whether there was anything to do.
func (r *Result) Changed() bool {
	for _, c := range r.Changes {
		if c.Script != "" || len(c.Reach) > 0 {
			return true
		}
	}
	return false
}

// String is the result as text that iptables-restore would take, one family
// after the other.
func (r *Result) String() string {
	var text strings.Builder
	for _, c := range r.Changes {
		program := "iptables-" + string(c.Backend) + "-restore"
		if c.Family == IPv6 {
			program = "ip6tables-" + string(c.Backend) + "-restore"
		}
		fmt.Fprintf(&text, "# %s: %s --noflush\n", c.Family, program)
		if c.Script == "" {
			text.WriteString("# nothing to do: the rules stand already\n")
		}
		text.WriteString(c.Script)
		for _, line := range c.Reach {
			fmt.Fprintf(&text, "# then: %s\n", line)
		}
	}
	return text.String()
}

// Plan returns what [Apply] would do. It changes nothing.
func Plan(ctx context.Context, cfg Config, opt Options) (*Result, error) {
	var result *Result
	err := withTarget(ctx, cfg, opt, func(n *namespace, t *target) error {
		work, err := n.prepare(t, false)
		if err != nil {
			return err
		}
		result, err = n.plan(t, work)
		return err
	})
	return result, err
}

// Apply makes the namespace what cfg asks for, and changes nothing where it is
// that already. Before the first change it has checked the configuration
// against this pod's own addresses, and that the kernel can do all of it.
//
// Where Apply fails between two transactions, what was applied stays: the guard
// comes first, so that the shoot's traffic is rejected and never leaves.
func Apply(ctx context.Context, cfg Config, opt Options) (result *Result, err error) {
	err = withTarget(ctx, cfg, opt, func(n *namespace, t *target) error {
		result, err = n.planAndApply(t)
		return err
	})
	return result, err
}

// ApplyAndVerify is [Apply] and then [Verify], with no other change by this
// package in between.
func ApplyAndVerify(ctx context.Context, cfg Config, opt Options) (result *Result, err error) {
	err = withTarget(ctx, cfg, opt, func(n *namespace, t *target) error {
		if result, err = n.planAndApply(t); err != nil {
			return err
		}
		return n.verify(ctx, t)
	})
	return result, err
}

func (n *namespace) planAndApply(t *target) (*Result, error) {
	work, err := n.prepare(t, true)
	if err != nil {
		return nil, err
	}
	result, err := n.plan(t, work)
	if err != nil {
		return nil, err
	}
	return result, n.apply(t, work)
}

// withTarget runs fn on a configuration that fits the machine.
func withTarget(ctx context.Context, cfg Config, opt Options, fn func(*namespace, *target) error) error {
	t, err := cfg.target()
	if err != nil {
		return err
	}
	if err := checkUsers(cfg); err != nil {
		return err
	}
	return inside(ctx, opt, func(n *namespace) error {
		needs, err := n.needs()
		if err != nil {
			return err
		}
		if err := collision(t.set, needs); err != nil {
			return err
		}
		return fn(n, t)
	})
}

// work is one family, ready to be applied.
type work struct {
	rules FamilyRules
	on    chosen
}

// prepare chooses the backend of every family, before the first is changed.
func (n *namespace) prepare(t *target, commit bool) ([]work, error) {
	if how, disabled := n.ipv6Disabled(); disabled && t.has(IPv6) {
		return nil, &KernelError{
			Op:   "prepare the redirect of the IPv6 shoot CIDRs",
			Cure: "enable IPv6 in the pod, or leave the IPv6 shoot CIDRs out: without it the shoot's IPv6 addresses cannot be reached",
			Err:  fmt.Errorf("%w: %s", ErrIPv6Disabled, how),
		}
	}
	surveys, err := n.survey(t.ruleset())
	if err != nil {
		return nil, err
	}
	var all []work
	for _, s := range surveys {
		on, err := n.choose(s, commit)
		if err != nil {
			return nil, err
		}
		if on.other != "" {
			n.log.Warn("our chains stand in the other backend too, and both are in force: call redirect.Clean with Options.Backend "+string(on.other),
				"family", on.family, "backend", on.backend, "other", on.other)
		}
		all = append(all, work{rules: s.rules, on: on})
	}
	return all, nil
}

func (n *namespace) plan(t *target, all []work) (*Result, error) {
	result := &Result{}
	for _, w := range all {
		c := Change{Family: w.rules.Family, Backend: w.on.backend, Script: w.rules.script(w.on.state), OtherBackend: w.on.other}
		steps, err := n.reachSteps(t, c.Family)
		if err != nil {
			return nil, err
		}
		for _, s := range steps {
			c.Reach = append(c.Reach, s.text)
		}
		result.Changes = append(result.Changes, c)
	}
	return result, nil
}

func (n *namespace) apply(t *target, all []work) error {
	for _, w := range all {
		script := w.rules.script(w.on.state)
		if script == "" {
			continue
		}
		if err := w.on.tables.Restore(script); err != nil {
			return err
		}
	}
	// Routes last: before its rules stand, a route would let the shoot's
	// traffic out.
	var errs []error
	for _, w := range all {
		steps, err := n.reachSteps(t, w.rules.Family)
		errs = append(errs, err, run(steps))
	}
	return errors.Join(errs...)
}
