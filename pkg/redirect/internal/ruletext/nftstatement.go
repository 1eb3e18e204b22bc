// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// statement reads one statement of a rule.
func (r *nftReader) statement(rule *netfilter.Rule, name string, body json.RawMessage) {
	do := func(a netfilter.Action) {
		a.Text = name
		rule.Steps = append(rule.Steps, netfilter.Step{Action: &a})
	}
	switch name {
	case "match":
		rule.Steps = append(rule.Steps, netfilter.Step{Condition: r.match(body)})
	case "counter":
		var count struct{ Packets, Bytes uint64 }
		if json.Unmarshal(body, &count) == nil {
			rule.Packets, rule.Bytes, rule.Counted = count.Packets, count.Bytes, true
		}
	case "log", "comment", "meter", "set", "dup", "ct helper", "ct timeout", "ct expectation", "xt-comment", "last":
	case "limit", "quota", "ct count":
		rule.Steps = append(rule.Steps, netfilter.Step{Condition: unknown(name + " " + string(body))})
	case "vmap":
		r.verdictMap(rule, body)
	case "mangle":
		do(r.mangle(body))
	default:
		do(r.terminal(name, body))
	}
}

// terminal reads a statement that may end a rule.
func (r *nftReader) terminal(name string, body json.RawMessage) netfilter.Action {
	switch name {
	case "accept":
		return netfilter.Action{Verb: netfilter.Accept}
	case "drop":
		return netfilter.Action{Verb: netfilter.Drop}
	case "return":
		return netfilter.Action{Verb: netfilter.Return}
	case "continue":
		return netfilter.Action{Verb: netfilter.Continue}
	case "jump", "goto":
		var to struct{ Target string }
		if json.Unmarshal(body, &to) == nil {
			verb := netfilter.Jump
			if name == "goto" {
				verb = netfilter.Goto
			}
			return netfilter.Action{Verb: verb, Chain: to.Target}
		}
	case "reject":
		var with struct{ Type, Expr string }
		_ = json.Unmarshal(body, &with) // plain reject has no body
		return netfilter.Action{Verb: netfilter.Reject, With: with.Type + " " + with.Expr}
	case "notrack":
		return netfilter.Action{Verb: netfilter.NoTrack}
	case "snat", "masquerade":
		return netfilter.Action{Verb: netfilter.SNAT}
	case "queue":
		return netfilter.Action{Verb: netfilter.Queue}
	case "redirect", "dnat", "tproxy":
		return translation(name, body)
	}
	return netfilter.Action{Verb: netfilter.Opaque}
}

// translation reads redirect, dnat and tproxy.
func translation(name string, body json.RawMessage) netfilter.Action {
	var to struct{ Addr, Port json.RawMessage }
	_ = json.Unmarshal(body, &to) // plain redirect has no body
	a := netfilter.Action{Verb: map[string]netfilter.Verb{"redirect": netfilter.Redirect, "dnat": netfilter.DNAT, "tproxy": netfilter.TProxy}[name]}
	port, known := portOf(to.Port)
	if !known {
		return netfilter.Action{Verb: netfilter.Opaque}
	}
	a.Port = port
	var text string
	if to.Addr != nil && json.Unmarshal(to.Addr, &text) == nil {
		a.To, _ = netip.ParseAddr(text)
	}
	a.SameAddress = a.Verb == netfilter.DNAT && to.Addr == nil
	return a
}

// portOf reads a port, or the first one of a range. No port is 0.
func portOf(body json.RawMessage) (port uint16, known bool) {
	if body == nil {
		return 0, true
	}
	if json.Unmarshal(body, &port) == nil {
		return port, true
	}
	var ranged struct{ Range []uint16 }
	if json.Unmarshal(body, &ranged) == nil && len(ranged.Range) == 2 {
		return ranged.Range[0], true
	}
	return 0, false
}

// mangle reads an assignment such as `meta mark set 0x1`.
func (r *nftReader) mangle(body json.RawMessage) netfilter.Action {
	var m struct{ Key, Value json.RawMessage }
	if json.Unmarshal(body, &m) != nil {
		return netfilter.Action{Verb: netfilter.Opaque}
	}
	key, ok := r.expression(m.Key)
	if !ok {
		return netfilter.Action{Verb: netfilter.Continue} // such as a DSCP or the zone
	}
	verb := netfilter.Continue
	switch key.name {
	case "meta mark":
		verb = netfilter.SetMark
	case "ct mark":
		verb = netfilter.SetConnMark
	default:
		if slices.Contains([]string{"ip daddr", "ip6 daddr", "tcp dport", "udp dport", "th dport"}, key.name) {
			verb = netfilter.Opaque // a translation without conntrack
		}
		return netfilter.Action{Verb: verb}
	}
	value, ok := r.number(m.Value)
	if !ok {
		return netfilter.Action{Verb: netfilter.Opaque}
	}
	return netfilter.Action{Verb: verb, Mark: value}
}

// number reads a number that can depend on the packet, such as `meta mark | 0x4`.
func (r *nftReader) number(body json.RawMessage) (func(*netfilter.Packet) uint32, bool) {
	var n uint32
	if json.Unmarshal(body, &n) == nil {
		return func(*netfilter.Packet) uint32 { return n }, true
	}
	var op map[string]json.RawMessage
	if json.Unmarshal(body, &op) != nil || len(op) != 1 {
		return nil, false
	}
	for name, sides := range op {
		var two []json.RawMessage
		if json.Unmarshal(sides, &two) == nil && len(two) == 2 {
			left, ok := r.number(two[0])
			right, ok2 := r.number(two[1])
			if !ok || !ok2 {
				return nil, false
			}
			switch name {
			case "&":
				return func(p *netfilter.Packet) uint32 { return left(p) & right(p) }, true
			case "|":
				return func(p *netfilter.Packet) uint32 { return left(p) | right(p) }, true
			case "^":
				return func(p *netfilter.Packet) uint32 { return left(p) ^ right(p) }, true
			}
			return nil, false
		}
	}
	e, ok := r.expression(body)
	if !ok {
		return nil, false
	}
	switch e.name {
	case "meta mark":
		return func(p *netfilter.Packet) uint32 { return p.Mark }, true
	case "ct mark":
		return func(p *netfilter.Packet) uint32 { return p.ConnMark }, true
	}
	return nil, false
}

// verdictMap reads a vmap with its own elements, or with those of a named map.
func (r *nftReader) verdictMap(rule *netfilter.Rule, body json.RawMessage) {
	type entry struct {
		fits   func(*netfilter.Packet) netfilter.Answer
		action *netfilter.Action
	}
	var m struct{ Key, Data json.RawMessage }
	if json.Unmarshal(body, &m) != nil {
		rule.Steps = append(rule.Steps, netfilter.Step{Action: &netfilter.Action{Verb: netfilter.Opaque, Text: "vmap"}})
		return
	}
	var entries []entry
	for _, element := range r.elements(m.Data) {
		var pair []json.RawMessage
		var verdict map[string]json.RawMessage
		if json.Unmarshal(element, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[1], &verdict) != nil {
			continue
		}
		for name, body := range verdict {
			action := r.terminal(name, body)
			action.Text = name
			entries = append(entries, entry{r.comparison(m.Key, pair[0]).Test, &action})
		}
	}
	var choices []*netfilter.Action
	for _, e := range entries {
		choices = append(choices, e.action)
	}
	rule.Steps = append(rule.Steps, netfilter.Step{Choices: choices, Choose: func(p *netfilter.Packet) (*netfilter.Action, netfilter.Answer) {
		unsure := false
		for _, e := range entries {
			switch e.fits(p) {
			case netfilter.Yes:
				return e.action, netfilter.Yes
			case netfilter.Unknown:
				unsure = true
			case netfilter.No:
			}
		}
		if unsure {
			return nil, netfilter.Unknown
		}
		return nil, netfilter.No
	}})
}

// elements returns those of an anonymous set, or of a named one ("@name").
func (r *nftReader) elements(body json.RawMessage) []json.RawMessage {
	var name string
	if json.Unmarshal(body, &name) == nil && len(name) > 1 && name[0] == '@' {
		return r.sets[[3]string{r.family, r.table, name[1:]}]
	}
	var anonymous struct{ Set []json.RawMessage }
	_ = json.Unmarshal(body, &anonymous) // no set, no elements
	return anonymous.Set
}
