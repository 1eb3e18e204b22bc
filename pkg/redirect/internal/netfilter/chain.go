// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netfilter

import (
	"fmt"
	"net/netip"
)

// chain walks the rules of one chain.
func (w *walk) chain(c *Chain) verdict {
	w.depth++
	defer func() { w.depth-- }()
	if w.depth > maxDepth {
		return verdict{verb: Opaque, chain: c}
	}
	for _, r := range c.Rules {
		v, decided := w.rule(r)
		if decided {
			return v
		}
	}
	return verdict{verb: Continue}
}

// rule tries one rule. decided is set if the chain ends with it.
func (w *walk) rule(r *Rule) (v verdict, decided bool) {
	at := len(w.steps)
	w.steps = append(w.steps, Met{Hook: w.hook, Rule: r, Answer: Yes})
	for _, s := range r.Steps {
		if s.Condition != nil {
			if r.idle() && s.Condition.Test(w.packet) == Unknown {
				w.steps[at].Answer = Unknown
				w.steps[at].Text = fmt.Sprintf("whether it matches %q cannot be told from here, and the rule changes nothing", s.Condition.Text)
				return verdict{}, false
			}
			if !w.meets(s.Condition) {
				w.steps[at].Answer, w.steps[at].Text = No, w.because(s.Condition)
				return verdict{}, false
			}
			continue
		}
		action := s.Action
		if s.Choose != nil {
			chosen, answer := s.Choose(w.packet)
			if answer == Unknown && w.assume("the verdict map of "+r.Title()+" decides about it", "the verdict map of "+r.Title()+" has nothing for it") {
				w.steps[at].Text = "its verdict map decides, and what it says cannot be told from here"
				return verdict{verb: Opaque, rule: r}, true
			}
			if chosen == nil {
				w.steps[at].Answer, w.steps[at].Text = No, "its verdict map has nothing for it"
				return verdict{}, false
			}
			action = chosen
		}
		w.steps[at].Text = join(w.steps[at].Text, w.does(action))
		if v, decided = w.act(r, action); decided {
			return v, true
		}
	}
	return verdict{}, false
}

func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// meets compares the packet with a condition. What cannot be known is assumed.
func (w *walk) meets(c *Condition) bool {
	switch c.Test(w.packet) {
	case Yes:
		return true
	case No:
		return false
	default:
		return w.assume(fmt.Sprintf("the connection matches %q", c.Text), fmt.Sprintf("the connection does not match %q", c.Text))
	}
}

// because says why the packet does not meet a condition.
func (w *walk) because(c *Condition) string {
	if c.Test(w.packet) == Unknown {
		return fmt.Sprintf("if it does not match %q, which cannot be told from here", c.Text)
	}
	if c.Fact == nil {
		return "it is for packets " + c.Words
	}
	return c.Fact(w.packet)
}

// does says what an action does.
func (w *walk) does(a *Action) string {
	switch a.Verb {
	case Continue:
		return ""
	case Accept:
		return "lets it pass"
	case Drop:
		return "drops it"
	case Reject:
		return "rejects it"
	case Return:
		return "returns to the chain before"
	case Jump, Goto:
		return "goes to chain " + a.Chain
	case Redirect:
		return fmt.Sprintf("redirects it to this pod's port %d", w.port(a))
	case DNAT:
		if a.SameAddress {
			return fmt.Sprintf("sends it to port %d", w.port(a))
		}
		if !a.To.IsValid() {
			return "sends it to an address that the rule computes"
		}
		return fmt.Sprintf("sends it to %s", netip.AddrPortFrom(a.To, w.port(a)))
	case SNAT:
		return "changes its source"
	case NoTrack:
		return "keeps it from conntrack, so nothing redirects it"
	case SetMark:
		return fmt.Sprintf("sets its mark to %#x", a.Mark(w.packet))
	case SetConnMark:
		return fmt.Sprintf("sets the mark of its connection to %#x", a.Mark(w.packet))
	case TProxy:
		return fmt.Sprintf("hands it to the socket on port %d", w.port(a))
	case Queue:
		return "hands it to a program"
	default:
		return "does what cannot be told from here"
	}
}

// port returns the port to which an action changes that of the packet.
func (w *walk) port(a *Action) uint16 {
	if a.Port == 0 {
		return w.packet.Destination.Port()
	}
	return a.Port
}

// act does what a rule does. decided is set if the chain ends with it.
func (w *walk) act(r *Rule, a *Action) (v verdict, decided bool) {
	p := w.packet
	switch a.Verb {
	case Continue:
		return verdict{}, false
	case Return:
		return verdict{verb: Continue}, true
	case Jump, Goto:
		next, ok := r.Chain.Table.Chains[a.Chain]
		if !ok { // a target that is no chain
			return w.act(r, &Action{Verb: Opaque, Text: a.Text})
		}
		v := w.chain(next)
		return v, a.Verb == Goto || v.verb != Continue
	case SetMark:
		p.Mark = a.Mark(p)
		return verdict{}, false
	case SetConnMark:
		if p.State != stateUntracked {
			p.ConnMark = a.Mark(p)
		}
		return verdict{}, false
	case NoTrack:
		// nft_notrack_eval and notrack_tg: a packet that conntrack has seen stays.
		if p.State == stateInvalid {
			p.State, w.untracked = stateUntracked, r
		}
		return verdict{}, false
	case Redirect, DNAT, SNAT:
		return w.translate(r, a)
	case TProxy:
		return w.intercept(r, a)
	case Opaque:
		what := fmt.Sprintf("the target %q of %s ", a.Text, r.Title())
		if w.assume(what+"lets the connection pass unchanged", what+"does something to the connection") {
			return verdict{}, false
		}
		return verdict{verb: Opaque, rule: r}, true
	default:
		return verdict{verb: a.Verb, rule: r}, true
	}
}

// intercept hands the packet to a socket of this pod, if there is one. Without one the
// target of iptables drops the packet (xt_TPROXY.c), and the statement of nft does not
// match (nft_tproxy.c).
func (w *walk) intercept(r *Rule, a *Action) (v verdict, decided bool) {
	to := a.To
	if !to.IsValid() {
		first, ok := w.network.FirstAddress(w.packet.In, w.packet.IPv6())
		if !ok {
			return verdict{verb: Drop, rule: r}, true
		}
		to = first
	}
	at := netip.AddrPortFrom(to, w.port(a))
	if _, found := w.network.Listener(w.packet.Protocol, at); !found {
		return verdict{verb: Drop, rule: r}, r.Chain.Table.Origin != OriginNative
	}
	w.tproxy, w.decided = at, r
	if r.Chain.Table.Origin == OriginNative {
		return verdict{}, false
	}
	return verdict{verb: Accept, rule: r}, true
}

// translate changes the packet's addresses.
func (w *walk) translate(r *Rule, a *Action) (v verdict, decided bool) {
	p := w.packet
	if a.Verb == SNAT {
		p.SourceChanged = true
		return verdict{verb: Accept, rule: r}, true
	}
	to := a.To
	if a.SameAddress {
		to = p.Destination.Addr()
	}
	if a.Verb == Redirect {
		if w.hook == HookOutput {
			to = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // nf_nat_redirect.c
			if p.IPv6() {
				to = netip.IPv6Loopback()
			}
		} else {
			first, ok := w.network.FirstAddress(p.In, p.IPv6())
			if !ok {
				return verdict{verb: Drop, rule: r}, true
			}
			to = first
		}
	}
	w.decided = r
	if !to.IsValid() {
		w.computed = true
		to = p.Destination.Addr()
	}
	changed := netip.AddrPortFrom(to, w.port(a))
	// Conntrack's bit is set only for a destination that differs: nf_nat_setup_info.
	p.DestinationChanged = p.DestinationChanged || changed != p.Destination || w.computed
	p.Destination = changed
	return verdict{verb: Accept, rule: r}, true
}
