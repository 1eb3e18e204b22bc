// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// maxForeign bounds how many rules of others are explained.
const maxForeign = 300

// words explains our rules, and those of others that a connection of this pod can meet.
func (s *Situation) words(owned owners, seen map[*netfilter.Rule]met) []Rule {
	var ours, others []Rule
	left := 0
	for _, r := range reachable(s.Rules) {
		owner := owned.of(r)
		one := Rule{Chain: r.Chain.Title(), Number: r.Number, Rule: r.Text, Owner: owner}
		if r.Counted {
			one.Packets, one.Bytes = &r.Packets, &r.Bytes
		}
		if owner == OwnerOurs {
			one.Meaning = s.ourMeaning(r)
			if one.Meaning == "" {
				one.Meaning = meaning(r) + " (our rules have none like it)"
			}
			ours = append(ours, one)
			continue
		}
		if len(others) == maxForeign {
			left++
			continue
		}
		one.Meaning, one.Effect = meaning(r), s.effect(seen[r])
		others = append(others, one)
	}
	slices.SortStableFunc(others, func(a, b Rule) int { return cmp.Compare(a.Owner, b.Owner) })
	all := slices.Concat(ours, others)
	if left > 0 {
		all = append(all, Rule{Owner: ownerUnknown, Meaning: fmt.Sprintf("%d more rules of other programs are not shown", left)})
	}
	return all
}

// effect says what follows for the shoot's connections.
func (s *Situation) effect(m met) string {
	switch {
	case s.Ours == nil:
		return ""
	case m == metTaken:
		return "TAKES connections to the shoot away from the sidecar"
	case m == metPassed:
		return "connections to the shoot meet it, and pass it"
	default:
		return "does not match connections to the shoot"
	}
}

// reachable returns the rules that packets of this pod can meet, in the kernel's order of
// hooks, ours first in each.
func reachable(rules *netfilter.Ruleset) []*netfilter.Rule {
	var all []*netfilter.Rule
	done := map[*netfilter.Chain]bool{}
	var add func(*netfilter.Chain)
	add = func(c *netfilter.Chain) {
		if c == nil || done[c] {
			return
		}
		done[c] = true
		all = append(all, c.Rules...)
		for _, r := range c.Rules {
			for _, a := range r.Actions() {
				if a.Chain != "" {
					add(c.Table.Chains[a.Chain])
				}
			}
		}
	}
	for _, hook := range []string{netfilter.HookOutput, netfilter.HookPostrouting, netfilter.HookPrerouting, netfilter.HookInput} {
		for _, t := range rules.Tables {
			for _, name := range slices.Sorted(maps.Keys(t.Chains)) {
				if c := t.Chains[name]; c.Hook == hook {
					add(c)
				}
			}
		}
	}
	return all
}

// meaning says what a rule does, from its conditions and its target.
func meaning(r *netfilter.Rule) string {
	var conditions []string
	for _, c := range r.Conditions() {
		if c.Words != "" {
			conditions = append(conditions, c.Words)
		}
	}
	text := "all packets"
	if len(conditions) > 0 {
		text = "packets " + strings.Join(conditions, ", ")
	}
	var does []string
	for _, a := range r.Actions() {
		if words := effectOf(a); words != "" {
			does = append(does, words)
		}
	}
	if len(does) == 0 {
		does = []string{"counts or logs them"}
	}
	return text + ": " + strings.Join(unique(does), "; ")
}

// effectOf says what an action does with the packets that match.
func effectOf(a *netfilter.Action) string {
	switch a.Verb {
	case netfilter.Accept:
		return "lets them pass"
	case netfilter.Drop:
		return "drops them"
	case netfilter.Reject:
		return "rejects them"
	case netfilter.Return:
		return "returns to the chain before"
	case netfilter.Jump, netfilter.Goto:
		return "goes to " + a.Chain
	case netfilter.Redirect:
		if a.Port == 0 {
			return "redirects them to the same port of this pod"
		}
		return fmt.Sprintf("redirects them to port %d of this pod", a.Port)
	case netfilter.DNAT:
		if a.To.IsValid() {
			return fmt.Sprintf("sends them to %s", a.To)
		}
		return "sends them to another address"
	case netfilter.SNAT:
		return "changes their source"
	case netfilter.NoTrack:
		return "keeps them from conntrack, so that nothing redirects them"
	case netfilter.SetMark:
		return "changes their mark"
	case netfilter.SetConnMark:
		return "changes the mark of their connection"
	case netfilter.TProxy:
		return fmt.Sprintf("hands them to the socket on port %d", a.Port)
	case netfilter.Queue:
		return "hands them to a program"
	case netfilter.Opaque:
		return "does what cannot be told from here (" + a.Text + ")"
	default:
		return ""
	}
}
