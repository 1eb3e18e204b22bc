// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/probing"
)

// Verify compares the chains with what cfg asks for, in order, and then tries them. It
// connects to the probe address and to an address inside of each shoot CIDR. It expects the
// sidecar's answer, and answers itself if no program listens on the proxy port yet. If an
// answer does not come, it names the rules of other programs that may be the cause. It
// changes nothing. What is wrong is a [*VerifyError].
func Verify(ctx context.Context, cfg Config, opt Options) error {
	return withTarget(ctx, cfg, opt, func(n *namespace, t *target) error { return n.verify(ctx, t) })
}

func (n *namespace) verify(ctx context.Context, t *target) error {
	problems, err := n.structure(t)
	if err != nil {
		return err
	}
	rulesStand := len(problems) == 0
	if rulesStand {
		// With wrong rules the probes would only repeat that, later.
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
		return &VerifyError{Problems: []string{nothingInstalled}}
	}
	differences, err := installed.Differences(t.cfg)
	if err != nil {
		return err
	}
	return &VerifyError{Problems: slices.Concat(differences, problems), RulesStand: rulesStand}
}

// structure lists how rules, address and routes differ from what is wanted.
func (n *namespace) structure(t *target) ([]string, error) {
	all, err := n.prepare(t, false)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, p := range all {
		problems = append(problems, p.on.state.differences(p.rules, p.on.backend)...)
		steps, err := n.missingRoutes(t, p.rules.Family)
		if err != nil {
			return nil, err
		}
		for _, s := range steps {
			problems = append(problems, fmt.Sprintf("%s: connections need: %s", p.rules.Family, s.Text))
		}
	}
	return problems, nil
}

// behaviour sends the probes of each family through the redirect, and lists what went
// wrong.
func (n *namespace) behaviour(ctx context.Context, t *target) []string {
	var problems []string
	for _, f := range t.families() {
		proxy := netip.AddrPortFrom(family.Loopback(f), t.cfg.ProxyPort)
		err := probing.Try(ctx, proxy, append([]netip.AddrPort{t.probe[f]}, t.inside[f]...))
		if err == nil {
			continue
		}
		problems = append(problems, fmt.Sprintf("%s: %v", f, err))
		suspects := n.suspects(ctx, t, f)
		if len(suspects) == 0 && !probing.MayReachSidecar(err) {
			suspects = []string{fmt.Sprintf("%s: no rule of another program was found that explains it; look at `iptables-save` of both backends and at `nft list ruleset`", f)}
		}
		problems = append(problems, suspects...)
	}
	return problems
}
