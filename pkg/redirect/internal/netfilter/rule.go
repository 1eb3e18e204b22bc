// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netfilter

import (
	"net/netip"
	"slices"
)

// Answer says whether a packet meets a condition.
type Answer int

// The answers.
const (
	No Answer = iota
	Yes
	Unknown
)

// Not returns the answer to the opposite question.
func (a Answer) Not() Answer {
	switch a {
	case No:
		return Yes
	case Yes:
		return No
	default:
		return Unknown
	}
}

// Is returns Yes or No.
func Is(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// Condition is one condition of a rule.
type Condition struct {
	// Text is the condition as its program writes it.
	Text string
	// Words say it for people: "to 100.64.0.0/12".
	Words string
	// Test compares a packet with it.
	Test func(*Packet) Answer
	// Fact says what a packet has that does not meet it: "it goes to 192.0.2.1".
	Fact func(*Packet) string

	// What the condition names. They are the values at which rules change their mind.
	Destinations []netip.Prefix
	Ports        []Range[uint16]
	UIDs         []Range[uint32]
	// Not is set for the negation of a condition.
	Not bool
	// Field is what the condition compares, such as "destination". It is empty if that
	// does not matter to package explain.
	Field string
}

// The fields of conditions that package explain looks at.
const (
	FieldDestination = "destination"
	FieldPort        = "destination port"
	FieldProtocol    = "protocol"
	FieldUID         = "uid"
	FieldGID         = "gid"
	FieldOut         = "device out"
	FieldIn          = "device in"
	FieldSource      = "source"
	FieldState       = "state"
	FieldDirection   = "direction"
	FieldSocket      = "socket"
	FieldFlags       = "flags"
)

// Range is a range of numbers with both ends.
type Range[T uint16 | uint32] struct{ First, Last T }

// Contains reports whether a number is in the range.
func (r Range[T]) Contains(n T) bool { return r.First <= n && n <= r.Last }

// Verb is what a rule does with a packet.
type Verb int

// The verbs.
const (
	// Continue goes on with the next rule. It stands for all targets that only look, such
	// as LOG, and for those that change what no rule or route depends on.
	Continue Verb = iota
	// Accept ends the base chain. Other base chains follow.
	Accept
	// Drop throws the packet away.
	Drop
	// Reject throws it away, and answers the sender.
	Reject
	// Return ends a chain.
	Return
	// Jump goes to a chain and comes back, Goto does not come back.
	Jump
	Goto
	// Redirect sends the packet to this pod itself, and DNAT to another address.
	Redirect
	DNAT
	// SNAT changes the packet's source.
	SNAT
	// NoTrack keeps the packet from conntrack, and so from every translation.
	NoTrack
	// SetMark changes the packet's mark, SetConnMark that of its connection.
	SetMark
	SetConnMark
	// TProxy hands the packet to a socket of this pod, without a translation.
	TProxy
	// Queue hands the packet to a program.
	Queue
	// Opaque is a target whose effect cannot be told.
	Opaque
)

// Action is what a rule does.
type Action struct {
	Verb Verb
	// Text is the action as its program writes it.
	Text string
	// Chain is that of Jump and Goto.
	Chain string
	// To is the new address of DNAT, or an invalid one if the rule computes it.
	To netip.Addr
	// SameAddress is set if DNAT changes the port alone.
	SameAddress bool
	// Port is the new port of Redirect, DNAT and TProxy; 0 keeps the port.
	Port uint16
	// With is the answer of Reject.
	With string
	// Mark returns the new mark of SetMark and SetConnMark.
	Mark func(*Packet) uint32
}

// Step is one part of a rule: a condition, an action or a verdict map.
type Step struct {
	Condition *Condition
	Action    *Action
	// Choose is a verdict map: the result is nil if the map has nothing for the packet.
	Choose func(*Packet) (*Action, Answer)
	// Choices are all that Choose can return.
	Choices []*Action
}

// Rule is one rule.
type Rule struct {
	// Number counts from 1 in its chain.
	Number int
	// Handle is nft's number of the rule, 0 for iptables.
	Handle int
	// Text is the rule as its program shows it.
	Text string
	// Steps are the conditions and actions, in order.
	Steps []Step
	// Packets and Bytes count what matched, if Counted is set.
	Packets, Bytes uint64
	Counted        bool

	Chain *Chain
}

// Target returns the action of the rule that decides most, or nil.
func (r *Rule) Target() *Action {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if r.Steps[i].Action != nil {
			return r.Steps[i].Action
		}
	}
	return nil
}

// Actions returns the rule's actions, and those of its verdict map.
func (r *Rule) Actions() []*Action {
	var all []*Action
	for _, s := range r.Steps {
		if s.Action != nil {
			all = append(all, s.Action)
		}
		all = append(all, s.Choices...)
	}
	return all
}

// idle reports whether the rule does nothing on which the way of a packet depends.
func (r *Rule) idle() bool {
	return !slices.ContainsFunc(r.Actions(), func(a *Action) bool { return a.Verb != Continue })
}

// Conditions returns the rule's conditions.
func (r *Rule) Conditions() []*Condition {
	var all []*Condition
	for _, s := range r.Steps {
		if s.Condition != nil {
			all = append(all, s.Condition)
		}
	}
	return all
}
