// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
)

// Result is how the walk of a packet ends.
type Result string

// The results.
const (
	// Arrives: a socket of this pod gets it.
	Arrives Result = "arrives"
	// Refused: it arrives in this pod, where no socket listens.
	Refused Result = "refused"
	// Leaves: it leaves the pod by a device.
	Leaves Result = "leaves"
	// Dropped: a rule throws it away without an answer.
	Dropped Result = "dropped"
	// Rejected: a rule throws it away and answers.
	Rejected Result = "rejected"
	// Unroutable: the kernel has no route, or refuses the one there is.
	Unroutable Result = "unroutable"
	// Queued: a rule hands it to a program.
	Queued Result = "queued"
	// Unpredictable: a rule does with it what cannot be told from here.
	Unpredictable Result = "unpredictable"
)

// Outcome is one way that a packet can go.
type Outcome struct {
	Result Result
	// Assumptions are what has to be so for this outcome. They are empty if the rules
	// leave no choice.
	Assumptions []string
	// Steps are the rules that the packet meets, in order.
	Steps []Met
	// Rule is the one that decided, or nil: that translated the packet, if it arrives or
	// leaves, and else that ended it.
	Rule *Rule
	// Chain is the base chain whose policy decided, or nil.
	Chain *Chain
	// Destination is where the packet goes in the end, Source where it seems to come
	// from.
	Destination, Source netip.AddrPort
	// Computed is set if a rule computes the new destination.
	Computed bool
	// Device is that by which it leaves.
	Device string
	// ListenerUID is the owner of the socket that gets it.
	ListenerUID uint32
	// Err is why there is no route.
	Err error
	// Untracked is set if conntrack does not see the packet, so that nothing translates it.
	Untracked *Rule
}

// Met is one rule that a packet meets, or a remark on its way.
type Met struct {
	// Hook is the hook where it is, or "".
	Hook string
	Rule *Rule // nil for a remark
	// Chain is the base chain whose policy applies, for a remark.
	Answer Answer
	// Text says why it does not match, or what it does.
	Text string
}

// maxWays bounds how many ways are followed: each condition that cannot be evaluated from
// here may double them.
const maxWays = 64

// Follow returns the ways that a packet can go, at least one. Those that end in the same way
// are one. If there are more than maxWays, the last outcome stands for the rest: it is
// Unpredictable, without a rule and a chain.
func Follow(rules *Ruleset, network Network, packet Packet) []Outcome {
	var all []Outcome
	var assumed []assumption
	for range maxWays {
		w := &walk{rules: rules, network: network, assumed: slices.Clone(assumed)}
		copied := packet
		w.packet = &copied
		outcome := w.run()
		if !slices.ContainsFunc(all, outcome.same) {
			all = append(all, outcome)
		}
		// The next way differs in the last assumption that has only been tried one way.
		assumed = w.assumed
		for len(assumed) > 0 && assumed[len(assumed)-1].holds {
			assumed = assumed[:len(assumed)-1]
		}
		if len(assumed) == 0 {
			break
		}
		assumed[len(assumed)-1].holds = true
	}
	if len(assumed) > 0 {
		all = append(all, Outcome{
			Result: Unpredictable, Destination: packet.Destination, Source: packet.Source,
			Assumptions: []string{fmt.Sprintf("it goes none of the %d ways that were followed", maxWays)},
		})
	}
	if len(all) == 1 {
		all[0].Assumptions = nil
	}
	return all
}

// same reports whether two ways end alike.
func (o Outcome) same(other Outcome) bool {
	return o.Result == other.Result && o.Destination == other.Destination && o.Computed == other.Computed &&
		o.Device == other.Device && o.Rule == other.Rule && o.Chain == other.Chain
}

// assumption is what cannot be told from here.
type assumption struct {
	what, opposite string
	holds          bool
}

// assume returns what this walk takes to be so: first that it is not.
func (w *walk) assume(what, opposite string) bool {
	for _, a := range w.assumed {
		if a.what == what {
			return a.holds
		}
	}
	w.assumed = append(w.assumed, assumption{what: what, opposite: opposite})
	return false
}

// assumptions returns them for people.
func (w *walk) assumptions() []string {
	var all []string
	for _, a := range w.assumed {
		if a.holds {
			all = append(all, a.what)
		} else {
			all = append(all, a.opposite)
		}
	}
	return all
}

// The assumptions about chains whose rules could not be read. All such chains share them.
const (
	UnreadTakes  = "a rule that could not be read takes the connection"
	UnreadPasses = "no rule that could not be read takes the connection"
)

// remark adds a line to the way that is not a rule.
func (w *walk) remark(format string, args ...any) {
	w.steps = append(w.steps, Met{Hook: w.hook, Text: fmt.Sprintf(format, args...), Answer: Yes})
}
