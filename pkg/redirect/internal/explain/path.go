// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// Path is what becomes of a connection.
type Path struct {
	// Connection says which connection it is.
	Connection string `json:"connection"`
	// Outcomes are the ways that it can go. There is one, unless a rule has a condition
	// that cannot be evaluated from outside of the kernel.
	Outcomes []Outcome `json:"outcomes"`
	// Notes are what could not be read.
	Notes []string `json:"notes,omitempty"`
}

// Outcome is one way that a connection can go.
type Outcome struct {
	// Result is arrives, refused, leaves, dropped, rejected, unroutable, queued or
	// unpredictable.
	Result netfilter.Result `json:"result"`
	// Sidecar is set if our rules take the connection to the sidecar's port.
	Sidecar bool `json:"sidecar"`
	// Verdict says it in one sentence, and Next what to do about it.
	Verdict string `json:"verdict"`
	Next    string `json:"next,omitempty"`
	// Assumptions have to be so for this outcome.
	Assumptions []string `json:"assumptions,omitempty"`
	// Destination is where the connection goes in the end.
	Destination netip.AddrPort `json:"destination"`
	// Source is where it comes from in the end. Its port is 0 if the kernel chooses it, and
	// it is not known if a rule changes it on the way out.
	Source netip.AddrPort `json:"source"`
	// Device is that by which it leaves the pod.
	Device string `json:"device,omitempty"`
	// ListenerUID is the user of the socket that takes it.
	ListenerUID *uint32 `json:"listenerUID,omitempty"`
	// Rule and Owner are the rule that decided and its likely owner.
	Rule  string `json:"rule,omitempty"`
	Owner string `json:"owner,omitempty"`
	// Steps are the rules that it meets, in order.
	Steps []Step `json:"steps"`
}

// Step is one rule that a connection meets, or a remark.
type Step struct {
	// Hook is where in the kernel, such as output.
	Hook string `json:"hook"`
	// Chain and Number say which rule it is, and Rule is its text. They are empty for a
	// remark.
	Chain  string `json:"chain,omitempty"`
	Number int    `json:"number,omitempty"`
	Rule   string `json:"rule,omitempty"`
	Owner  string `json:"owner,omitempty"`
	// Matches tells whether the rule matches.
	Matches bool `json:"matches"`
	// Text says what the rule does, or why it does not match.
	Text string `json:"text"`
}

// Follow says what would become of a connection. It sends nothing.
func (s *Situation) Follow(t Traffic) (*Path, error) {
	p, err := s.packet(t)
	if err != nil {
		return nil, err
	}
	path := &Path{Connection: describe(p, t), Notes: s.Notes}
	owned := ownersOf(s.Rules)
	for _, o := range netfilter.Follow(s.Rules, s.Network, p) {
		path.Outcomes = append(path.Outcomes, s.outcome(owned, p, o))
	}
	return path, nil
}

// describe says which connection a packet begins.
func describe(p netfilter.Packet, t Traffic) string {
	protocol := "TCP connection"
	if p.Protocol == "udp" {
		protocol = "UDP datagram"
	}
	if !p.Local {
		return fmt.Sprintf("%s from outside, from %s by device %s, to %s", protocol, t.From.Addr(), p.In, p.Destination)
	}
	text := fmt.Sprintf("%s of an app with uid %d and gid %d to %s", protocol, p.UID, p.GID, p.Destination)
	if t.UID == nil {
		text = fmt.Sprintf("%s of an app to %s (as uid and gid %d, a user that no rule names)", protocol, p.Destination, p.UID)
	}
	if t.From.Addr().IsValid() {
		text += fmt.Sprintf(", bound to address %s", t.From.Addr())
	}
	if t.Device != "" {
		text += ", bound to device " + t.Device
	}
	return text
}

// outcome puts one way into words.
func (s *Situation) outcome(owned owners, p netfilter.Packet, o netfilter.Outcome) Outcome {
	out := Outcome{
		Result: o.Result, Assumptions: o.Assumptions, Destination: o.Destination, Source: o.Source, Device: o.Device, Steps: []Step{},
	}
	if o.Rule != nil {
		out.Rule, out.Owner = o.Rule.Title()+": "+o.Rule.Text, owned.of(o.Rule)
	} else if o.Chain != nil {
		out.Owner = owned.ofTable(o.Chain)
	}
	if o.Result == netfilter.Arrives {
		out.ListenerUID = &o.ListenerUID
	}
	out.Sidecar = o.Result == netfilter.Arrives && s.toSidecar(p, o, out.Owner)
	out.Verdict, out.Next = s.verdict(p, o, out)
	for _, m := range o.Steps {
		step := Step{Hook: m.Hook, Matches: m.Answer == netfilter.Yes, Text: m.Text}
		if m.Rule != nil {
			step.Chain, step.Number, step.Rule, step.Owner = m.Rule.Chain.Title(), m.Rule.Number, m.Rule.Text, owned.of(m.Rule)
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

// toSidecar reports whether our rules have taken a connection to the sidecar's port.
func (s *Situation) toSidecar(p netfilter.Packet, o netfilter.Outcome, owner string) bool {
	return s.Ours != nil && owner == OwnerOurs && p.Protocol == "tcp" && o.Destination.Addr().IsLoopback() && o.Destination.Port() == s.Ours.ProxyPort
}

// theirs names an owner in a sentence: "Istio's rule".
func theirs(owner, rule string) string {
	switch {
	case owner == OwnerOurs:
		return "our rule " + quoted(rule)
	case strings.HasPrefix(owner, "the program"), owner == ownerUnknown:
		return fmt.Sprintf("the rule %s (made by %s)", quoted(rule), owner)
	default:
		return fmt.Sprintf("the rule %s (likely of %s)", quoted(rule), owner)
	}
}

func quoted(rule string) string { return "\"" + rule + "\"" }
