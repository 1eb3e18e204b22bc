// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// Explanation says what the rules of a pod do.
type Explanation struct {
	// Right is set if all rules could be read, and the shoot's connections reach the sidecar.
	Right bool `json:"right"`
	// Summary is one sentence, if nothing wrong was found.
	Summary string `json:"summary,omitempty"`
	// Problems say what is wrong, whose rule it is, and what to do.
	Problems []Problem `json:"problems,omitempty"`
	// Notes are what could not be read.
	Notes []string `json:"notes,omitempty"`
	// Rules are ours, and those of others that a connection can meet.
	Rules []Rule `json:"rules"`
}

// Problem is one thing that is wrong.
type Problem struct {
	// Text says what is wrong.
	Text string `json:"text"`
	// Owner is the likely owner of the rule that is the cause, "ours" for ours.
	Owner string `json:"owner,omitempty"`
	// Rule is that rule.
	Rule string `json:"rule,omitempty"`
	// Certain is false if the problem depends on what cannot be told from outside of the
	// kernel. Text says on what.
	Certain bool `json:"certain"`
	// Next says what to do.
	Next string `json:"next"`
}

// Rule is one rule in words.
type Rule struct {
	// Chain, Number and Rule say which rule it is.
	Chain  string `json:"chain"`
	Number int    `json:"number"`
	Rule   string `json:"rule"`
	// Owner is its likely owner, "ours" for ours.
	Owner string `json:"owner"`
	// Packets and Bytes count what matched; they are nil if the rule has no counter.
	Packets *uint64 `json:"packets,omitempty"`
	Bytes   *uint64 `json:"bytes,omitempty"`
	// Meaning says what the rule does.
	Meaning string `json:"meaning"`
	// Effect says what follows for the shoot's connections. It is empty for our rules.
	Effect string `json:"effect,omitempty"`
}

// met is what the shoot's connections do with a rule.
type met int

const (
	metNever met = iota
	metPassed
	metTaken
)

// Explain says what each rule does, and finds out whether the shoot's connections reach the
// sidecar. For that it follows connections to each shoot CIDR through the rules.
func (s *Situation) Explain() *Explanation {
	e := &Explanation{Rules: []Rule{}, Notes: s.Notes}
	owned := ownersOf(s.Rules)
	seen := map[*netfilter.Rule]met{}
	e.Problems = s.ownProblems()
	if s.Ours != nil {
		found := s.followSamples(owned, seen)
		if len(e.Problems) == 0 {
			// With wrong rules of ours, their repair comes first.
			e.Problems = found
		}
	}
	e.Right = len(e.Problems) == 0 && len(e.Notes) == 0
	switch {
	case e.Right:
		e.Summary = s.summary()
	case len(e.Problems) == 0:
		e.Summary = "Nothing wrong was found, but not all rules could be read, so one of these may still take the connections."
	}
	e.Rules = append(e.Rules, s.words(owned, seen)...)
	return e
}

// summary says in one sentence that all is right.
func (s *Situation) summary() string {
	where := "[::1]"
	if slices.ContainsFunc(s.Ours.Shoot, isIPv4) {
		where = "127.0.0.1"
	}
	return fmt.Sprintf("Everything is right: TCP to %s is redirected to %s:%d, where the sidecar (uid %d) takes it, and no rule of another program takes it first.",
		joined(s.Ours.Shoot), where, s.Ours.ProxyPort, s.Ours.ProxyUID)
}

// ownProblems are those of our own rules.
func (s *Situation) ownProblems() []Problem {
	if s.Ours == nil {
		return []Problem{{Text: "no rules of ours stand in this network namespace, so nothing is redirected", Certain: true, Next: nothingNext}}
	}
	var all []Problem
	for _, d := range s.Differences {
		all = append(all, Problem{Text: "the rules are not those that were asked for: " + d, Owner: OwnerOurs, Certain: true, Next: repairNext})
	}
	for _, p := range s.Problems {
		all = append(all, Problem{Text: "our rules are not whole: " + p, Owner: OwnerOurs, Certain: true, Next: repairNext})
	}
	return all
}

// followSamples follows connections to the shoot, and returns what is wrong with them. It
// records in seen what they do with each rule.
func (s *Situation) followSamples(owned owners, seen map[*netfilter.Rule]met) []Problem {
	var all []*grouped
	for _, t := range s.samples() {
		p, err := s.packet(t.Traffic)
		if err != nil {
			continue // only a connection from outside
		}
		var wrong []wrongWay
		read := 0
		for _, o := range netfilter.Follow(s.Rules, s.Network, p) {
			for _, m := range o.Steps {
				if m.Rule != nil && m.Answer != netfilter.No && !t.UDP {
					seen[m.Rule] = max(seen[m.Rule], metPassed)
				}
			}
			out := s.outcome(owned, p, o)
			if o.Chain != nil && o.Chain.Unread != "" {
				continue // Notes say so
			}
			read++
			if !s.asWanted(t.Traffic, o, out) {
				wrong = append(wrong, wrongWay{o, out})
			}
		}
		for _, w := range wrong {
			if w.Rule != nil && w.words.Owner != OwnerOurs {
				seen[w.Rule] = metTaken
			}
			if w.Untracked != nil {
				seen[w.Untracked] = metTaken
			}
			all = group(all, owned, t, p, w, len(wrong) == read)
		}
	}
	var problems []Problem
	for _, g := range all {
		problems = append(problems, g.problem())
	}
	return problems
}

// wrongWay is a way of a sample that is not as it should be.
type wrongWay struct {
	netfilter.Outcome
	words Outcome
}

// asWanted reports whether a sample goes where it should.
func (s *Situation) asWanted(t Traffic, o netfilter.Outcome, out Outcome) bool {
	if t.UDP {
		return o.Result == netfilter.Rejected && out.Owner == OwnerOurs
	}
	return out.Sidecar && o.ListenerUID == s.Ours.ProxyUID
}

// grouped are samples that go wrong in the same way.
type grouped struct {
	outcome Outcome
	// untracked keeps them from conntrack, or is nil.
	untracked      *netfilter.Rule
	untrackedOwner string
	protocol       string
	samples        []sample
	certain        bool
}

// group adds a way to those that go wrong in the same way.
func group(all []*grouped, owned owners, t sample, p netfilter.Packet, w wrongWay, certain bool) []*grouped {
	for _, g := range all {
		same := g.outcome.Result == w.Result && g.outcome.Rule == w.words.Rule && g.outcome.Device == w.Device
		// Without conntrack nothing else is to blame.
		same = (same || w.Untracked != nil) && g.untracked == w.Untracked && g.protocol == p.Protocol && g.certain == certain
		if same {
			g.samples = append(g.samples, t)
			return all
		}
	}
	g := &grouped{outcome: w.words, untracked: w.Untracked, protocol: p.Protocol, samples: []sample{t}, certain: certain}
	if w.Untracked != nil {
		g.untrackedOwner = owned.of(w.Untracked)
	}
	return append(all, g)
}

// maxNamed is how many destinations a problem names.
const maxNamed = 4

// labels says what the samples stand for: whole CIDRs, or else the connections that differ.
func (g *grouped) labels() string {
	var cidrs, single, probes []string
	whole := func(one sample) bool {
		return slices.ContainsFunc(g.samples, func(s sample) bool { return s.cidr.IsValid() && s.cidr.Contains(one.To.Addr()) })
	}
	for _, one := range g.samples {
		switch {
		case one.cidr.IsValid():
			cidrs = append(cidrs, one.label())
		case one.probe:
			probes = append(probes, one.label())
		case !whole(one):
			single = append(single, one.label())
		}
	}
	all := unique(slices.Concat(cidrs, single))
	if len(all) == 0 {
		all = unique(probes)
	}
	if more := len(all) - maxNamed; more > 0 {
		all = append(all[:maxNamed], fmt.Sprintf("%d more that were tried", more))
	}
	return joined(all)
}

// problem puts a group into words.
func (g *grouped) problem() Problem {
	what := "TCP to"
	if g.protocol == "udp" {
		what = "UDP to"
	}
	text := fmt.Sprintf("%s %s %s", what, g.labels(), sentence(g.outcome))
	assumed := slices.DeleteFunc(slices.Clone(g.outcome.Assumptions), func(a string) bool { return a == netfilter.UnreadPasses })
	if len(assumed) > 0 {
		text += " — if " + strings.Join(assumed, ", and if ")
	}
	p := Problem{Text: text, Owner: g.outcome.Owner, Rule: g.outcome.Rule, Certain: g.certain, Next: g.outcome.Next}
	if !g.certain {
		p.Next = tryNext + "if it finds a fault: " + p.Next
	}
	if g.untracked != nil {
		p.Rule = g.untracked.Title() + ": " + g.untracked.Text
		p.Owner = g.untrackedOwner
		p.Text = fmt.Sprintf("%s %s is not redirected, because conntrack does not see it: %s keeps it from conntrack; it %s",
			what, g.labels(), theirs(p.Owner, p.Rule), sentence(g.outcome))
		p.Next = "remove that rule, or let its program leave out the shoot's CIDRs"
	}
	return p
}
