// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"slices"
)

// Verify compares the chains with what cfg asks for, in order, and then tries
// them: it connects to the probe address and to one inside of each shoot CIDR,
// and expects the sidecar's answer, or its own where nothing listens on the proxy
// port yet. Where one does not come it names the rules of others that may be
// why. It changes nothing. What is wrong is a [*VerifyError].
func Verify(ctx context.Context, cfg Config, opt Options) error {
	return withTarget(ctx, cfg, opt, func(n *namespace, t *target) error { return n.verify(ctx, t) })
}

func (n *namespace) verify(ctx context.Context, t *target) error {
	problems, err := n.structure(t)
	if err != nil {
		return err
	}
	if len(problems) == 0 {
		// With wrong rules a probe would only repeat that, later.
		problems = n.behaviour(ctx, t)
	}
	if len(problems) == 0 {
		return nil
	}
	installed, err := n.installed()
	if err != nil {
		return err
	}
	if installed == nil {
		return &VerifyError{Problems: []string{nothingStands}}
	}
	differences, err := installed.Differences(t.cfg)
	if err != nil {
		return err
	}
	return &VerifyError{Problems: slices.Concat(differences, problems)}
}

// structure lists how rules, address and routes differ from what is wanted.
func (n *namespace) structure(t *target) ([]string, error) {
	all, err := n.prepare(t, false)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, w := range all {
		problems = append(problems, w.on.state.differences(w.rules, w.on.backend)...)
		steps, err := n.reachSteps(t, w.rules.Family)
		if err != nil {
			return nil, err
		}
		for _, s := range steps {
			problems = append(problems, fmt.Sprintf("%s: connections need: %s", w.rules.Family, s.text))
		}
	}
	return problems, nil
}
