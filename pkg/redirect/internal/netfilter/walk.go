// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netfilter

import (
	"fmt"
	"net/netip"
	"slices"
)

// walk is one way of a packet.
type walk struct {
	rules   *Ruleset
	network Network
	packet  *Packet
	assumed []assumption
	steps   []Met
	hook    string
	// priority is that of the base chain that is walked.
	priority int
	// translated and source are set once conntrack has a translation, or the decision
	// that there is none: NAT asks its rules once for each.
	translated, sourceDone bool
	// decided is the rule that translated the destination.
	decided   *Rule
	computed  bool
	untracked *Rule
	tproxy    netip.AddrPort
	depth     int
	dry       bool // only to see what a chain would do
}

// verdict is what a chain decides.
type verdict struct {
	verb  Verb
	rule  *Rule
	chain *Chain // whose policy it is
}

// ends reports whether the packet goes no further.
func (v verdict) ends() bool {
	return slices.Contains([]Verb{Drop, Reject, Queue, Opaque}, v.verb)
}

// maxDepth bounds jumps: the kernel refuses rules with a loop.
const maxDepth = 64

// run follows the packet.
func (w *walk) run() Outcome {
	w.packet.State = stateInvalid
	w.packet.Original = w.packet.Destination
	w.packet.local = w.network.IsLocal
	var o Outcome
	if w.packet.Local {
		o = w.output()
	} else {
		o = w.input(false)
	}
	o.Steps, o.Assumptions, o.Source, o.Untracked = w.steps, w.assumptions(), w.packet.Source, w.untracked
	o.Computed = w.computed
	if !o.Destination.IsValid() {
		o.Destination = w.packet.Destination
	}
	return o
}

// query asks for the route of a packet that an app sends.
func (w *walk) query() (Route, error) {
	p := w.packet
	return w.network.Route(Query{Source: p.Source.Addr(), Destination: p.Destination.Addr(), UID: p.UID, Mark: p.Mark, Out: p.Bound})
}

// output follows what a socket of this pod sends.
func (w *walk) output() Outcome {
	p := w.packet
	route, err := w.query()
	if err != nil {
		w.remark("no route to %s: %v", p.Destination.Addr(), err)
		return Outcome{Result: Unroutable, Err: err}
	}
	p.Out = route.Device
	if !p.Source.Addr().IsValid() {
		p.Source = netip.AddrPortFrom(route.Source, p.Source.Port())
	}
	w.remark("the route to %s leads to device %s, from address %s", p.Destination.Addr(), route.Device, p.Source.Addr())
	mark, destination := p.Mark, p.Destination
	if v := w.at(HookOutput); v.ends() {
		return w.ended(v)
	}
	if p.Destination.Addr() != destination.Addr() || p.Mark != mark {
		// ip_route_me_harder of net/ipv4/netfilter.c
		if route, err = w.query(); err != nil {
			w.remark("no route to %s, where the rules have sent it: %v", p.Destination.Addr(), err)
			return Outcome{Result: Unroutable, Err: err, Rule: w.decided}
		}
		if route.Device != p.Out {
			w.remark("the kernel looks for a route again: to %s it leads to device %s", p.Destination.Addr(), route.Device)
		}
		p.Out = route.Device
	}
	if v := w.at(HookPostrouting); v.ends() {
		return w.ended(v)
	}
	if route.Local || p.Out == "lo" {
		p.In, p.Out, p.Local = "lo", "", false // skb_orphan of loopback_xmit
		return w.input(true)
	}
	return Outcome{Result: Leaves, Device: p.Out, Rule: w.decided}
}

// input follows what comes by a device. A packet that this pod has sent to itself has passed
// the hooks for sending already.
func (w *walk) input(own bool) Outcome {
	p := w.packet
	if v := w.at(HookPrerouting); v.ends() {
		return w.ended(v)
	}
	if w.tproxy.IsValid() {
		p.In = "lo"
	} else if !own {
		if !w.network.IsLocal(p.Destination.Addr()) {
			return w.forward()
		}
		// The kernel drops what cannot have come by this device (ip_route_input_slow).
		if _, err := w.network.Route(Query{Source: p.Source.Addr(), Destination: p.Destination.Addr(), In: p.In, Mark: p.Mark}); err != nil {
			return Outcome{Result: Unroutable, Err: err}
		}
	}
	if v := w.at(HookInput); v.ends() {
		return w.ended(v)
	}
	at := p.Destination
	if w.tproxy.IsValid() {
		at = w.tproxy
	}
	if w.computed {
		return Outcome{Result: Unpredictable, Rule: w.decided}
	}
	uid, found := w.network.Listener(p.Protocol, at)
	if !found {
		return Outcome{Result: Refused, Rule: w.decided, Destination: at}
	}
	return Outcome{Result: Arrives, Rule: w.decided, Destination: at, ListenerUID: uid}
}

// forward follows what comes from outside for another host.
func (w *walk) forward() Outcome {
	p := w.packet
	route, err := w.network.Route(Query{Source: p.Source.Addr(), Destination: p.Destination.Addr(), In: p.In, Mark: p.Mark})
	if err != nil {
		return Outcome{Result: Unroutable, Err: err}
	}
	p.Out = route.Device
	for _, hook := range []string{HookForward, HookPostrouting} {
		if v := w.at(hook); v.ends() {
			return w.ended(v)
		}
	}
	return Outcome{Result: Leaves, Device: p.Out, Rule: w.decided}
}

// ended returns the outcome of a verdict that ends the way.
func (w *walk) ended(v verdict) Outcome {
	o := Outcome{Rule: v.rule, Chain: v.chain}
	switch v.verb {
	case Drop:
		o.Result = Dropped
	case Reject:
		o.Result = Rejected
	case Queue:
		o.Result = Queued
	default:
		o.Result = Unpredictable
	}
	return o
}

// at calls the base chains of a hook.
func (w *walk) at(hook string) verdict {
	w.hook = hook
	chains := w.rules.bases(hook, w.packet.IPv6())
	w.conntrack(hook)
	for i := 0; i < len(chains); i++ {
		if i+1 < len(chains) && chains[i].tied(chains[i+1]) && w.orderMatters(chains[i], chains[i+1]) {
			newer := func(a, b *Chain) string {
				return fmt.Sprintf("%s is newer than %s (both have priority %d; the kernel asks the newer one first, and does not tell which it is)", a.Title(), b.Title(), a.Priority)
			}
			if w.assume(newer(chains[i+1], chains[i]), newer(chains[i], chains[i+1])) {
				chains[i], chains[i+1] = chains[i+1], chains[i]
			}
		}
		if v := w.base(chains[i]); v.ends() {
			return v
		}
	}
	w.seen(hook)
	return verdict{}
}

// orderMatters reports whether both chains decide about the packet.
func (w *walk) orderMatters(a, b *Chain) bool {
	decides := func(c *Chain) bool {
		tried, packet := *w, *w.packet
		tried.packet, tried.steps, tried.dry = &packet, nil, true
		v := tried.base(c)
		w.assumed = tried.assumed
		return v.ends() || tried.decided != w.decided
	}
	return decides(a) && decides(b)
}

// conntrack marks where conntrack looks at a packet for the first time: behind the base
// chains with a priority below its own.
func (w *walk) conntrack(hook string) {
	if hook == HookOutput || hook == HookPrerouting {
		w.priority = priorityConntrack - 1
	}
}

// seen sets that a hook's translations are done.
func (w *walk) seen(hook string) {
	w.track()
	switch hook {
	case HookOutput, HookPrerouting:
		w.translated = true
	case HookPostrouting, HookInput:
		w.sourceDone = true
	}
}

// track lets conntrack see the packet.
func (w *walk) track() {
	if w.packet.State == stateInvalid {
		w.packet.State = stateNew
	}
}

// base walks a base chain.
func (w *walk) base(c *Chain) verdict {
	w.priority = c.Priority
	if c.place() > priorityConntrack {
		w.track()
	}
	if c.Type == "nat" && w.skipsTranslation(c) {
		return verdict{}
	}
	if c.Unread != "" {
		if !w.assume(UnreadTakes, UnreadPasses) {
			w.remark("%s may do something, and its rules could not be read: %s", c.Title(), c.Unread)
			return verdict{}
		}
		return verdict{verb: Opaque, chain: c}
	}
	v := w.chain(c)
	if v.verb == Continue || v.verb == Return {
		if c.DropPolicy {
			w.remark("the policy of %s drops what no rule has decided", c.Title())
			return verdict{verb: Drop, chain: c}
		}
		return verdict{}
	}
	return v
}

// skipsTranslation reports whether NAT does not ask a chain: conntrack does not see the
// packet, or has its translation already.
func (w *walk) skipsTranslation(c *Chain) bool {
	why := ""
	source := c.place() == prioritySource
	switch {
	case w.packet.State == stateUntracked:
		why = "conntrack does not see this packet"
	case source && w.sourceDone || !source && w.translated:
		why = "this connection has had its translation already"
	case !source && w.decided != nil:
		why = "an earlier chain has translated it"
	}
	if why != "" && len(c.Rules) > 0 {
		w.remark("%s is not asked: %s", c.Title(), why)
	}
	return why != ""
}
