// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// words reads a text or a list of texts.
func words(body json.RawMessage) []string {
	var one string
	if json.Unmarshal(body, &one) == nil {
		return []string{one}
	}
	var several []string
	if json.Unmarshal(body, &several) == nil {
		return several
	}
	return nil
}

// all reads values that are texts or lists of texts.
func all(values []json.RawMessage) []string {
	var texts []string
	for _, v := range values {
		texts = append(texts, words(v)...)
	}
	return texts
}

// texts returns values as they are written. A number becomes its digits.
func texts(values []json.RawMessage) []string {
	var list []string
	for _, v := range values {
		list = append(list, strings.Trim(string(v), `"`))
	}
	return list
}

func upper(names []string) []string {
	var list []string
	for _, n := range names {
		list = append(list, strings.ToUpper(n))
	}
	return list
}

// protocolNames returns names for protocols that nft may write as numbers.
func protocolNames(values []json.RawMessage) []string {
	var names []string
	for _, name := range texts(values) {
		switch name {
		case "6":
			name = "tcp"
		case "17":
			name = "udp"
		}
		names = append(names, name)
	}
	return names
}

// numbers reads numbers and ranges of numbers.
func numbers[T uint16 | uint32](values []json.RawMessage) ([]netfilter.Range[T], bool) {
	var list []netfilter.Range[T]
	for _, v := range values {
		var n T
		var ranged struct{ Range []T }
		switch {
		case json.Unmarshal(v, &n) == nil:
			list = append(list, netfilter.Range[T]{First: n, Last: n})
		case json.Unmarshal(v, &ranged) == nil && len(ranged.Range) == 2:
			list = append(list, netfilter.Range[T]{First: ranged.Range[0], Last: ranged.Range[1]})
		default:
			return nil, false
		}
	}
	return list, true
}

// addressOf returns the condition on the packet's destination or source.
func addressOf(text string, isSource bool, values []json.RawMessage) *netfilter.Condition {
	var prefixes []netip.Prefix
	for _, v := range values {
		some, ok := prefixesOf(v)
		if !ok {
			return nil
		}
		prefixes = append(prefixes, some...)
	}
	if isSource {
		return source(text, prefixes, false)
	}
	return destination(text, prefixes, false)
}

// prefixesOf reads an address, a prefix or a range.
func prefixesOf(body json.RawMessage) ([]netip.Prefix, bool) {
	var text string
	if json.Unmarshal(body, &text) == nil {
		p, ok := condition.ParseDestination(text)
		return []netip.Prefix{p}, ok
	}
	var object struct {
		Prefix *struct {
			Addr string
			Len  int
		}
		Range []string
	}
	if json.Unmarshal(body, &object) != nil {
		return nil, false
	}
	if object.Prefix != nil {
		p, err := netip.ParsePrefix(fmt.Sprintf("%s/%d", object.Prefix.Addr, object.Prefix.Len))
		return []netip.Prefix{p.Masked()}, err == nil
	}
	if len(object.Range) != 2 {
		return nil, false
	}
	first, err := netip.ParseAddr(object.Range[0])
	last, err2 := netip.ParseAddr(object.Range[1])
	if err != nil || err2 != nil || first.BitLen() != last.BitLen() {
		return nil, false
	}
	return rangeOf(first, last), true
}

// rangeOf returns the prefixes that make up a range of addresses.
func rangeOf(first, last netip.Addr) []netip.Prefix {
	var list []netip.Prefix
	for first.IsValid() && first.Compare(last) <= 0 {
		bits := first.BitLen()
		for bits > 0 {
			p := netip.PrefixFrom(first, bits-1)
			if p.Masked().Addr() != first || end(p).Compare(last) > 0 {
				break
			}
			bits--
		}
		p := netip.PrefixFrom(first, bits)
		list = append(list, p)
		first = end(p).Next()
	}
	return list
}

// end returns the last address of a prefix.
func end(p netip.Prefix) netip.Addr {
	bytes := p.Addr().AsSlice()
	for i := range bytes {
		for bit := range 8 {
			if i*8+bit >= p.Bits() {
				bytes[i] |= 0x80 >> bit
			}
		}
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}

// marks returns the condition that a mark is one of the values.
func marks(text string, connection bool, values []json.RawMessage, mask uint32) *netfilter.Condition {
	list, ok := numbers[uint32](values)
	if !ok {
		return nil
	}
	c := mark(text, connection, 0, 0, false)
	what, of := "mark", func(p *netfilter.Packet) uint32 { return p.Mark }
	if connection {
		what, of = "connection mark", func(p *netfilter.Packet) uint32 { return p.ConnMark }
	}
	c.Words = fmt.Sprintf("with %s %s", what, ranges(list))
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		return netfilter.Is(slices.ContainsFunc(list, func(r netfilter.Range[uint32]) bool { return r.Contains(of(p) & mask) }))
	}
	return c
}

// status returns the condition on conntrack's status bits.
func status(text string, names []string) *netfilter.Condition {
	return &netfilter.Condition{
		Text: text, Words: "of connections with status " + listed(names),
		Test: func(p *netfilter.Packet) netfilter.Answer {
			return netfilter.Is(slices.Contains(names, "dnat") && p.DestinationChanged || slices.Contains(names, "snat") && p.SourceChanged)
		},
		Fact: func(*netfilter.Packet) string { return "it begins a connection, which has no such status" },
	}
}
