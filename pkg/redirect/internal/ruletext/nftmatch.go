// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// expression is what a match compares.
type expression struct {
	// name is such as "ip daddr" or "meta mark".
	name string
	// mask is that of a bitwise AND, or nil.
	mask json.RawMessage
	// parts are those of a concatenation.
	parts []json.RawMessage
}

// expression reads the left side of a match. The result is false if it is not known.
func (r *nftReader) expression(body json.RawMessage) (expression, bool) {
	var e struct {
		Payload *struct{ Protocol, Field string }
		Meta    *struct{ Key string }
		CT      *struct{ Key, Dir string }
		Fib     *struct {
			Result string
			Flags  json.RawMessage
		}
		And    []json.RawMessage `json:"&"`
		Concat []json.RawMessage
	}
	if json.Unmarshal(body, &e) != nil {
		return expression{}, false
	}
	switch {
	case e.Payload != nil:
		return expression{name: e.Payload.Protocol + " " + e.Payload.Field}, true
	case e.Meta != nil:
		return expression{name: "meta " + e.Meta.Key}, true
	case e.CT != nil && e.CT.Dir == "":
		return expression{name: "ct " + e.CT.Key}, true
	case e.Fib != nil && e.Fib.Result == "type":
		flags := words(e.Fib.Flags)
		return expression{name: "fib " + strings.Join(flags, " ")}, len(flags) == 1
	case len(e.And) == 2:
		left, ok := r.expression(e.And[0])
		left.mask = e.And[1]
		return left, ok
	case len(e.Concat) > 0:
		return expression{name: "concat", parts: e.Concat}, true
	default:
		return expression{}, false
	}
}

// match reads one match.
func (r *nftReader) match(body json.RawMessage) *netfilter.Condition {
	var m struct {
		Op          string
		Left, Right json.RawMessage
	}
	if json.Unmarshal(body, &m) != nil {
		return unknown(string(body))
	}
	switch m.Op {
	case "==", "in", "":
		return r.comparison(m.Left, m.Right)
	case "!=":
		c := r.comparison(m.Left, m.Right)
		return r.opposite(m.Left, c)
	default:
		return r.ordered(m.Op, m.Left, m.Right)
	}
}

// opposite negates a condition, but not what it needs: `ip daddr != 192.0.2.1` never
// matches IPv6.
func (r *nftReader) opposite(left json.RawMessage, c *netfilter.Condition) *netfilter.Condition {
	e, _ := r.expression(left)
	test := c.Test
	c.Not, c.Words = true, "not "+c.Words
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		if !e.has(p) {
			return netfilter.No
		}
		return test(p).Not()
	}
	return c
}

// has reports whether a packet has what the expression compares.
func (e expression) has(p *netfilter.Packet) bool {
	layer, _, _ := strings.Cut(e.name, " ")
	switch layer {
	case "ip":
		return !p.IPv6()
	case "ip6":
		return p.IPv6()
	case "tcp", "udp", "sctp", "dccp", "icmp", "icmpv6", "udplite":
		return p.Protocol == layer
	}
	if e.name == "meta skuid" || e.name == "meta skgid" {
		return p.Local
	}
	return true
}

// ordered reads a match with <, >, <= or >=. Only ports and users are compared like that.
func (r *nftReader) ordered(op string, left, right json.RawMessage) *netfilter.Condition {
	e, ok := r.expression(left)
	var n uint32
	if !ok || e.mask != nil || json.Unmarshal(right, &n) != nil {
		return unknown(string(left) + " " + op + " " + string(right))
	}
	most := uint32(math.MaxUint16)
	if e.name == "meta skuid" || e.name == "meta skgid" {
		most = math.MaxUint32
	}
	first, last := uint32(0), most
	switch {
	case op == "<" && n > 0:
		last = n - 1
	case op == "<=":
		last = n
	case op == ">" && n < most:
		first = n + 1
	case op == ">=":
		first = n
	default:
		return always(op, op, false, "nothing is")
	}
	ranged, _ := json.Marshal(map[string][]uint32{"range": {first, last}})
	return r.comparison(left, ranged)
}

// comparison returns the condition that the left side is, or is one of, the right side.
func (r *nftReader) comparison(left, right json.RawMessage) *netfilter.Condition {
	text := string(left) + " == " + string(right)
	e, ok := r.expression(left)
	if !ok {
		return unknown(text)
	}
	values := []json.RawMessage{right}
	if elements := r.elements(right); elements != nil || isSet(right) {
		values = elements
	}
	for i, v := range values {
		values[i] = bare(v)
	}
	if e.name == "concat" {
		return r.concatenation(text, e, values)
	}
	c := r.scalar(text, e, values)
	if c == nil {
		return unknown(text)
	}
	test := c.Test
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		if !e.has(p) {
			return netfilter.No
		}
		return test(p)
	}
	fact := c.Fact
	c.Fact = func(p *netfilter.Packet) string {
		if !e.has(p) {
			return fmt.Sprintf("it has no %q", e.name)
		}
		if fact == nil {
			return "it is for packets " + c.Words
		}
		return fact(p)
	}
	return c
}

// isSet reports whether a value is a set: named ("@name") or anonymous.
func isSet(body json.RawMessage) bool {
	var name string
	if json.Unmarshal(body, &name) == nil {
		return strings.HasPrefix(name, "@")
	}
	var anonymous struct{ Set json.RawMessage }
	return json.Unmarshal(body, &anonymous) == nil && anonymous.Set != nil
}

// bare returns the value of a set's element that has a timeout, a counter or a comment.
func bare(body json.RawMessage) json.RawMessage {
	var e struct {
		Elem struct{ Val json.RawMessage }
	}
	if json.Unmarshal(body, &e) == nil && e.Elem.Val != nil {
		return e.Elem.Val
	}
	return body
}

// concatenation returns the condition that the parts together are one of the values.
func (r *nftReader) concatenation(text string, e expression, values []json.RawMessage) *netfilter.Condition {
	var rows [][]*netfilter.Condition
	for _, v := range values {
		var one struct{ Concat []json.RawMessage }
		if json.Unmarshal(v, &one) != nil || len(one.Concat) != len(e.parts) {
			return unknown(text)
		}
		var row []*netfilter.Condition
		for i, part := range e.parts {
			row = append(row, r.comparison(part, one.Concat[i]))
		}
		rows = append(rows, row)
	}
	c := &netfilter.Condition{Text: text, Words: fmt.Sprintf("of a set with %d elements", len(rows))}
	for _, row := range rows {
		for _, one := range row {
			c.Destinations, c.Ports, c.UIDs = append(c.Destinations, one.Destinations...), append(c.Ports, one.Ports...), append(c.UIDs, one.UIDs...)
		}
	}
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		best := netfilter.No
		for _, row := range rows {
			all := netfilter.Yes
			for _, one := range row {
				if a := one.Test(p); a == netfilter.No || all == netfilter.Yes {
					all = a
				}
				if all == netfilter.No {
					break
				}
			}
			if all == netfilter.Yes {
				return all
			}
			if all == netfilter.Unknown {
				best = all
			}
		}
		return best
	}
	c.Fact = func(p *netfilter.Packet) string { return fmt.Sprintf("%s is not in the set", p.Destination) }
	return c
}

// scalar returns the condition on one expression, or nil if it is not known.
func (r *nftReader) scalar(text string, e expression, values []json.RawMessage) *netfilter.Condition {
	if e.mask != nil {
		return masked(text, e, values)
	}
	switch e.name {
	case "ip daddr", "ip6 daddr", "ip saddr", "ip6 saddr":
		return addressOf(text, strings.HasSuffix(e.name, "saddr"), values)
	case "tcp dport", "udp dport", "th dport", "tcp sport", "udp sport", "th sport":
		all, ok := numbers[uint16](values)
		if !ok {
			return nil
		}
		which := "destination"
		if strings.HasSuffix(e.name, "sport") {
			which = "source"
		}
		return ports(text, which, all, false)
	case "meta l4proto", "ip protocol", "ip6 nexthdr":
		return protocol(text, protocolNames(values), false)
	case "meta nfproto":
		six := slices.Contains(texts(values), "ipv6")
		four := slices.Contains(texts(values), "ipv4")
		return &netfilter.Condition{
			Text: text, Words: "of " + listed(texts(values)),
			Test: func(p *netfilter.Packet) netfilter.Answer { return netfilter.Is(p.IPv6() && six || !p.IPv6() && four) },
			Fact: func(*netfilter.Packet) string { return "it is of the other IP family" },
		}
	case "meta iifname", "meta iif", "meta oifname", "meta oif":
		return device(text, strings.HasPrefix(e.name, "meta i"), texts(values), false)
	case "meta skuid", "meta skgid":
		all, ok := numbers[uint32](values)
		if !ok {
			return nil
		}
		return owner(text, e.name == "meta skgid", all, false)
	case "meta mark", "ct mark":
		return marks(text, e.name == "ct mark", values, math.MaxUint32)
	case "ct state":
		return state(text, upper(all(values)), false)
	case "ct status":
		return status(text, all(values))
	case "ct direction":
		if len(values) == 1 {
			return direction(text, texts(values)[0], false)
		}
	case "fib daddr", "fib saddr":
		if len(values) == 1 {
			return local(text, texts(values)[0], e.name == "fib saddr", false)
		}
	case "tcp flags":
		return nil // without a mask it compares flags that a SYN may have, such as ECE
	}
	return nil
}

// masked returns the condition on an expression with a bitwise AND.
func masked(text string, e expression, values []json.RawMessage) *netfilter.Condition {
	switch e.name {
	case "meta mark", "ct mark":
		var mask uint32
		if json.Unmarshal(e.mask, &mask) != nil {
			return nil
		}
		return marks(text, e.name == "ct mark", values, mask)
	case "tcp flags":
		return tcpFlags(text, words(e.mask), all(values), false)
	default:
		return nil
	}
}
