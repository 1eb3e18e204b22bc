// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/nftables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/rule"
)

// Rules of other programs can take the shoot's traffic before ours see it, or after them.
// Verify cannot judge them by their text. So it tries what happens, and if that is wrong it
// names the rules that may be the cause.

// decisive returns the targets that drop a packet or change where it goes.
func decisive() []string {
	return []string{"CT", "NOTRACK", "DROP", "REJECT", "REDIRECT", "DNAT", "NETMAP", "TPROXY", "NFQUEUE", "QUEUE", "MARK"}
}

// maxSuspects is how many rules one report names.
const maxSuspects = 8

// suspects names the rules of other programs that may keep the shoot's traffic of a family
// from our redirect: those whose destination is in the shoot, or, if there are none, those
// without a destination.
func (n *namespace) suspects(ctx context.Context, t *target, f Family) []string {
	shoot := family.Only(f, t.set.Shoot())
	var named, wide []string
	add := func(where string, touches touch) {
		switch touches {
		case touchesShoot:
			named = append(named, where)
		case touchesAll:
			wide = append(wide, where)
		case touchesNothing:
		}
	}
	for _, b := range bothBackends() {
		n.foreignRules(f, b, shoot, add)
	}
	for _, r := range n.nftRules(ctx) {
		add(r.Where, nftTouches(r, f, shoot))
	}
	if len(named) == 0 {
		named = wide
	}
	if len(named) == 0 {
		// No rule tells what a verdict map does, or what a connection meets where it
		// arrives.
		for _, r := range nftables.PassedChains(n.log) {
			if nftTouches(r, f, shoot) != touchesNothing {
				named = append(named, r.Where)
			}
		}
	}
	if len(named) == 0 {
		return nil
	}
	dropped := len(named) - maxSuspects
	if dropped > 0 {
		named = append(named[:maxSuspects], fmt.Sprintf("and %d more", dropped))
	}
	return []string{fmt.Sprintf("%s: in the way may be, made by another program: %s", f, strings.Join(named, "; "))}
}

// touch is how much of the shoot's traffic a rule can match.
type touch int

const (
	touchesNothing touch = iota
	touchesAll           // it has no destination
	touchesShoot         // its destination is in the shoot
)

// touching compares a destination with the shoot. An invalid destination is any.
func touching(destination netip.Prefix, shoot []netip.Prefix) touch {
	switch {
	case !destination.IsValid():
		return touchesAll
	case slices.ContainsFunc(shoot, destination.Overlaps):
		return touchesShoot
	default:
		return touchesNothing
	}
}

// nftTouches compares the destinations of a rule with the shoot.
func nftTouches(r nftables.Rule, f Family, shoot []netip.Prefix) touch {
	if r.Family == "ip" && f != IPv4 || r.Family == "ip6" && f != IPv6 {
		return touchesNothing
	}
	if r.Anywhere {
		return touchesAll
	}
	for _, p := range r.Destinations {
		if touching(p, shoot) == touchesShoot {
			return touchesShoot
		}
	}
	return touchesNothing
}

// nftRules returns the rules that decide about packets in tables that iptables does not
// show. If the image has no nft(8), it returns the chains.
func (n *namespace) nftRules(ctx context.Context) []nftables.Rule {
	if n.nftRuleset == nil {
		return nil
	}
	text, err := n.nftRuleset(ctx)
	if err != nil {
		n.log.Debug("nftables' own tables cannot be read with nft", "error", err)
		return nftables.PassedChains(n.log)
	}
	rules, err := nftables.ParseRules(text)
	if err != nil {
		n.log.Debug("nftables' own tables cannot be read", "error", err)
	}
	return rules
}

// foreignRules calls add for each rule of one backend that decides about the shoot's
// traffic. A backend or a table that cannot be read is logged and skipped.
func (n *namespace) foreignRules(f Family, b Backend, shoot []netip.Prefix, add func(string, touch)) {
	t, err := n.open(f, b)
	if err != nil {
		n.log.Debug("rules of others cannot be read", "family", f, "backend", b, "error", err)
		return
	}
	for _, table := range []string{"raw", tableMangle, tableNAT, tableFilter} {
		all, err := t.List(table)
		if err != nil {
			n.log.Debug("rules of others cannot be read", "family", f, "backend", b, "table", table, "error", err)
			continue
		}
		chains := map[string][]rule.Listed{}
		for name, lines := range all {
			rules, err := rule.ParseChain(lines)
			if err != nil {
				n.log.Debug("rules of others cannot be read", "family", f, "backend", b, "table", table, "error", err)
				continue
			}
			chains[name] = rules
		}
		walk := chainWalk{chains: chains, table: table, seen: map[string]bool{}}
		for _, entry := range []string{"OUTPUT", "POSTROUTING"} {
			walk.from(entry, netip.Prefix{}, func(l rule.Listed, destination netip.Prefix) {
				add(fmt.Sprintf("%s (%s) table %s chain %s: %s", f, b, table, l.Chain, l.Raw), touching(destination, shoot))
			})
		}
	}
}

// chainWalk follows the jumps of one table, each chain once.
type chainWalk struct {
	chains map[string][]rule.Listed
	table  string
	seen   map[string]bool
}

// from calls found for each rule that decides and that is reached from a chain. It skips
// our chains. The destination is that of the rule or, if it has none, of the jump to it.
func (w chainWalk) from(name string, destination netip.Prefix, found func(rule.Listed, netip.Prefix)) {
	if w.seen[name] || isOurs(w.table, name) {
		return
	}
	w.seen[name] = true
	for _, l := range w.chains[name] {
		to := l.Rule.Destination
		if !to.IsValid() {
			to = destination
		}
		if slices.Contains(decisive(), l.Rule.Jump) {
			found(l, to)
		} else if _, ok := w.chains[l.Target()]; ok {
			w.from(l.Target(), to, found)
		}
	}
}
