// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Rules of other programs can take the shoot's traffic before ours see it, or
// behind them. Verify cannot judge them by their text: it tries what happens,
// and where that is wrong names the rules that may be why.

// decisive are the targets that change where a packet goes, or whether.
func decisive() []string {
	return []string{"CT", "NOTRACK", "DROP", "REJECT", "REDIRECT", "DNAT", "NETMAP", "TPROXY", "NFQUEUE", "QUEUE", "MARK"}
}

// maxSuspects bounds how many rules one report names.
const maxSuspects = 8

// suspects names the rules of others that may keep the shoot's traffic of a
// family from our redirect: those whose destination lies in the shoot first,
// else those that have none.
func (n *namespace) suspects(ctx context.Context, t *target, f Family) []string {
	var shoot []netip.Prefix
	for _, p := range t.set.Shoot() {
		if f.of(p) {
			shoot = append(shoot, p)
		}
	}
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
	for _, b := range []Backend{BackendNFT, BackendLegacy} {
		n.foreignRules(f, b, shoot, add)
	}
	for _, r := range n.nativeRules(ctx) {
		add(r.where, r.touches(f, shoot))
	}
	if len(named) == 0 {
		named = wide
	}
	if len(named) == 0 {
		// What a verdict map or an arriving connection meets is told by no rule.
		for _, r := range n.nativeChains() {
			if r.touches(f, shoot) != touchesNothing {
				named = append(named, r.where)
			}
		}
	}
	if len(named) == 0 {
		return []string{fmt.Sprintf("%s: no rule of another program was found that explains it; look at `iptables-save` of both backends and at `nft list ruleset`", f)}
	}
	dropped := len(named) - maxSuspects
	if dropped > 0 {
		named = append(named[:maxSuspects], fmt.Sprintf("and %d more", dropped))
	}
	return []string{fmt.Sprintf("%s: in the way may be, made by another program: %s", f, strings.Join(named, "; "))}
}

// touch says what of the shoot's traffic a rule can match.
type touch int

const (
	touchesNothing touch = iota
	touchesAll           // it has no destination
	touchesShoot         // its destination lies in the shoot
)

// touching compares a destination with the shoot; an invalid one is any.
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

// foreignRules looks through the tables of one backend for rules that decide
// about what the shoot's traffic passes. A backend or a table that cannot be
// read holds none that could be named.
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
		chains := map[string][]listed{}
		for name, lines := range all {
			rules, err := parseChain(lines)
			if err != nil {
				n.log.Debug("rules of others cannot be read", "family", f, "backend", b, "table", table, "error", err)
				continue
			}
			chains[name] = rules
		}
		walk := chainWalk{chains: chains, table: table, seen: map[string]bool{}}
		for _, entry := range []string{"OUTPUT", "POSTROUTING"} {
			walk.from(entry, netip.Prefix{}, func(l listed, destination netip.Prefix) {
				add(fmt.Sprintf("%s (%s) table %s chain %s: %s", f, b, table, l.chain, l.raw), touching(destination, shoot))
			})
		}
	}
}

// chainWalk follows the jumps of one table, each chain once.
type chainWalk struct {
	chains map[string][]listed
	table  string
	seen   map[string]bool
}

// from calls found for each rule of others that decides, reached from chain
// name, with the destination that it or the jump that led to it has.
func (w chainWalk) from(name string, destination netip.Prefix, found func(listed, netip.Prefix)) {
	if w.seen[name] || isOurs(w.table, name) {
		return
	}
	w.seen[name] = true
	for _, l := range w.chains[name] {
		to := l.rule.Destination
		if !to.IsValid() {
			to = destination
		}
		next := l.rule.Jump
		if _, goes, ok := strings.Cut(" "+l.rule.foreign, " -g "); ok {
			next = strings.Fields(goes)[0]
		}
		if slices.Contains(decisive(), l.rule.Jump) {
			found(l, to)
		} else if _, ok := w.chains[next]; ok {
			w.from(next, to, found)
		}
	}
}
