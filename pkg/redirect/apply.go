// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/routes"
)

// Change is what one family needs, or needed.
type Change struct {
	Family  Family
	Backend Backend
	// Script is the input of iptables-restore --noflush. It is empty if the rules are
	// right already.
	Script string
	// Reach holds the address and routes that are added or deleted, in the words of
	// ip(8): for sockets that are bound to a device, and for a pod that has no address
	// of the family.
	Reach []string
	// OtherBackend is the other backend if it holds chains of ours too, and else empty.
	// If it is not empty, both backends are in force.
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

// String returns the result as text that iptables-restore would take, one family after
// the other.
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
		all, err := n.prepare(t, false)
		if err != nil {
			return err
		}
		result, err = n.plan(t, all)
		return err
	})
	return result, err
}

// Apply changes the namespace to what cfg asks for. It changes nothing that is right
// already. Before the first change it compares the configuration with this pod's own
// addresses, and makes sure that the kernel can do all of it.
//
// If Apply fails between two transactions, what was applied stays. The guard comes first,
// so that the shoot's traffic is rejected and never leaves.
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
	all, err := n.prepare(t, true)
	if err != nil {
		return nil, err
	}
	result, err := n.plan(t, all)
	if err != nil {
		return nil, err
	}
	return result, n.apply(t, all)
}

// withTarget runs fn in the namespace, with a configuration that is right for its pod.
func withTarget(ctx context.Context, cfg Config, opt Options, fn func(*namespace, *target) error) error {
	t, err := cfg.target()
	if err != nil {
		return err
	}
	if err := checkUsers(cfg); err != nil {
		return err
	}
	return inNamespace(ctx, opt, func(n *namespace) error {
		needed, err := n.neededAddresses()
		if err != nil {
			return err
		}
		if err := collision(t.set, needed); err != nil {
			return err
		}
		return fn(n, t)
	})
}

// prepared is one family whose rules can be applied.
type prepared struct {
	rules FamilyRules
	on    chosen
}

// prepare chooses the backend of every family before the first is changed. For commit, see
// [namespace.choose].
func (n *namespace) prepare(t *target, commit bool) ([]prepared, error) {
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
	var all []prepared
	for _, s := range surveys {
		on, err := n.choose(s, commit)
		if err != nil {
			return nil, err
		}
		if on.other != "" {
			n.log.Warn("our chains stand in the other backend too, and both are in force: call redirect.Clean with Options.Backend "+string(on.other),
				"family", on.family, "backend", on.backend, "other", on.other)
		}
		all = append(all, prepared{rules: s.rules, on: on})
	}
	return all, nil
}

// plan returns what apply would do.
func (n *namespace) plan(t *target, all []prepared) (*Result, error) {
	result := &Result{}
	for _, p := range all {
		c := Change{Family: p.rules.Family, Backend: p.on.backend, Script: p.rules.script(p.on.state), OtherBackend: p.on.other}
		steps, err := n.missingRoutes(t, c.Family)
		if err != nil {
			return nil, err
		}
		c.Reach = routes.Texts(steps)
		result.Changes = append(result.Changes, c)
	}
	return result, nil
}

// apply commits the scripts of all families, and then adds the routes.
func (n *namespace) apply(t *target, all []prepared) error {
	for _, p := range all {
		script := p.rules.script(p.on.state)
		if script == "" {
			continue
		}
		if err := p.on.tables.Restore(script); err != nil {
			return err
		}
	}
	// Routes last: before the rules are there, a route would let the shoot's traffic out.
	var errs []error
	for _, p := range all {
		steps, err := n.missingRoutes(t, p.rules.Family)
		errs = append(errs, err, routes.Run(steps))
	}
	return errors.Join(errs...)
}
