// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// IPTables reads a table as [iptables.Tables.List] returns it.
func IPTables(origin string, ipv6 bool, name string, listing map[string][]string) (*netfilter.Table, error) {
	t := &netfilter.Table{Origin: origin, Family: "ip", Name: name, Chains: map[string]*netfilter.Chain{}}
	if ipv6 {
		t.Family = "ip6"
	}
	for _, chain := range slices.Sorted(maps.Keys(listing)) {
		c := &netfilter.Chain{Table: t, Name: chain}
		t.Chains[chain] = c
		for _, line := range listing[chain] {
			if strings.HasPrefix(line, "-P ") {
				setHook(c, strings.Contains(line, " DROP"))
			}
			if !strings.HasPrefix(line, "-A ") {
				continue
			}
			listed, err := iptables.ParseRule(line)
			if err != nil {
				return nil, fmt.Errorf("read rule %q: %w", line, err)
			}
			c.Rules = append(c.Rules, &netfilter.Rule{
				Chain: c, Number: len(c.Rules) + 1, Text: strings.Join(listed.Words, " "), Steps: steps(listed.Words),
				Packets: listed.Packets, Bytes: listed.Bytes, Counted: true,
			})
		}
	}
	return t, nil
}

// Unread returns a table of iptables whose rules could not be read.
func Unread(origin string, ipv6 bool, name, why string) *netfilter.Table {
	t := &netfilter.Table{Origin: origin, Family: "ip", Name: name, Chains: map[string]*netfilter.Chain{}}
	if ipv6 {
		t.Family = "ip6"
	}
	chains := map[string][]string{
		"raw": {"PREROUTING", "OUTPUT"}, "filter": {"INPUT", "FORWARD", "OUTPUT"}, "security": {"INPUT", "FORWARD", "OUTPUT"},
		"nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, "mangle": {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"},
	}
	for _, chain := range chains[name] {
		c := &netfilter.Chain{Table: t, Name: chain, Unread: why}
		setHook(c, false)
		t.Chains[chain] = c
	}
	return t
}

// setHook sets where the kernel calls a chain of iptables (linux/netfilter_ipv4.h).
func setHook(c *netfilter.Chain, dropPolicy bool) {
	c.Hook, c.DropPolicy, c.Type = strings.ToLower(c.Name), dropPolicy, "filter"
	switch c.Table.Name {
	case "raw":
		c.Priority = -300
	case "mangle":
		c.Priority = -150
		if c.Hook == netfilter.HookOutput {
			c.Type = "route"
		}
	case "nat":
		c.Type, c.Priority = "nat", -100
		if c.Hook == netfilter.HookPostrouting || c.Hook == netfilter.HookInput {
			c.Priority = 100
		}
	case "security":
		c.Priority = 50
	}
}

// option is one option of a rule with its values.
type option struct {
	name   string
	not    bool
	values []string
}

// text returns the option as it was written.
func (o option) text() string {
	words := append([]string{o.name}, o.values...)
	if o.not {
		words = append([]string{"!"}, words...)
	}
	return strings.Join(words, " ")
}

// value returns the only value, or "".
func (o option) value() string {
	if len(o.values) != 1 {
		return ""
	}
	return o.values[0]
}

// options splits the words of a rule at those that begin with a dash.
func options(words []string) []option {
	var all []option
	for _, word := range words {
		name, not := strings.CutPrefix(word, "! ")
		isName := strings.HasPrefix(name, "--") && len(name) > 2 || len(name) == 2 && name[0] == '-' && (name[1] < '0' || name[1] > '9')
		if isName {
			all = append(all, option{name: name, not: not})
		} else if len(all) > 0 {
			last := &all[len(all)-1]
			last.values = append(last.values, strings.Trim(word, `"`))
		}
	}
	return all
}

// steps reads the conditions and the target of a rule.
func steps(words []string) []netfilter.Step {
	var all []netfilter.Step
	opts := options(words)
	for i := 0; i < len(opts); i++ {
		o := opts[i]
		if o.name == "-j" || o.name == "-g" {
			all = append(all, netfilter.Step{Action: target(o, opts[i+1:])})
			break
		}
		if o.name != "-m" {
			if c := plain(o); c != nil {
				all = append(all, netfilter.Step{Condition: c})
			}
			continue
		}
		module := o.value()
		var own []option
		for i+1 < len(opts) && strings.HasPrefix(opts[i+1].name, "--") {
			i++
			own = append(own, opts[i])
		}
		all = append(all, match(module, own)...)
	}
	return all
}

// plain reads a condition that belongs to no module.
func plain(o option) *netfilter.Condition {
	text, value := o.text(), o.value()
	switch o.name {
	case "-s", "-d":
		p, ok := condition.ParseDestination(value)
		if !ok {
			return unknown(text)
		}
		if o.name == "-s" {
			return source(text, []netip.Prefix{p}, o.not)
		}
		return destination(text, []netip.Prefix{p}, o.not)
	case "-i", "-o":
		return device(text, o.name == "-i", []string{value}, o.not)
	case "-p":
		name := value
		if numbered, ok := map[string]string{"6": "tcp", "17": "udp"}[value]; ok {
			name = numbered
		}
		return protocol(text, []string{name}, o.not)
	default:
		return unknown(text)
	}
}

// match reads the conditions of a module.
func match(module string, own []option) []netfilter.Step {
	var all []netfilter.Step
	for _, o := range own {
		c := matchOne(module, o)
		if c == nil {
			text := "-m " + module
			for _, o := range own {
				text += " " + o.text()
			}
			return []netfilter.Step{{Condition: unknown(text)}}
		}
		all = append(all, netfilter.Step{Condition: c})
	}
	if len(own) == 0 && !slices.Contains([]string{"tcp", "udp", "comment"}, module) {
		return []netfilter.Step{{Condition: unknown("-m " + module)}}
	}
	if module == "comment" {
		return nil
	}
	return all
}

// matchOne reads one condition of a module. The result is nil if it is not known.
func matchOne(module string, o option) *netfilter.Condition {
	text, value := o.text(), o.value()
	switch module + " " + o.name {
	case "tcp --dport", "udp --dport":
		if r, ok := parseRange[uint16](value, ":"); ok {
			return ports(text, "destination", []netfilter.Range[uint16]{r}, o.not)
		}
	case "tcp --sport", "udp --sport":
		if r, ok := parseRange[uint16](value, ":"); ok {
			return ports(text, "source", []netfilter.Range[uint16]{r}, o.not)
		}
	case "multiport --dports", "multiport --sports", "multiport --ports":
		var all []netfilter.Range[uint16]
		for part := range strings.SplitSeq(value, ",") {
			r, ok := parseRange[uint16](part, ":")
			if !ok {
				return nil
			}
			all = append(all, r)
		}
		which := map[string]string{"--dports": "destination", "--sports": "source", "--ports": "any"}[o.name]
		return ports(text, which, all, o.not)
	case "owner --uid-owner", "owner --gid-owner":
		if r, ok := parseRange[uint32](value, "-"); ok {
			return owner(text, o.name == "--gid-owner", []netfilter.Range[uint32]{r}, o.not)
		}
	case "owner --socket-exists":
		return negated(&netfilter.Condition{
			Text: text, Words: "of a socket", Field: netfilter.FieldSocket,
			Test: func(p *netfilter.Packet) netfilter.Answer { return netfilter.Is(p.Local) },
			Fact: func(p *netfilter.Packet) string {
				if p.Local {
					return "a socket of this pod sends it"
				}
				return "no socket of this pod sends it"
			},
		}, o.not)
	case "conntrack --ctstate", "state --state":
		return state(text, strings.Split(value, ","), o.not)
	case "conntrack --ctdir":
		return direction(text, value, o.not)
	case "mark --mark", "connmark --mark":
		if v, m, ok := valueAndMask(value); ok {
			return mark(text, module == "connmark", v, m, o.not)
		}
	case "addrtype --dst-type", "addrtype --src-type":
		return local(text, value, o.name == "--src-type", o.not)
	case "tcp --tcp-flags":
		if len(o.values) == 2 {
			return tcpFlags(text, strings.Split(o.values[0], ","), strings.Split(o.values[1], ","), o.not)
		}
	case "comment --comment":
		return always(text, "", true, "")
	case "iprange --dst-range", "iprange --src-range":
		if first, last, ok := strings.Cut(value, "-"); ok {
			return addressRange(text, first, last, o.name == "--src-range", o.not)
		}
	case "icmp --icmp-type", "icmp6 --icmpv6-type":
		return always(text, "of ICMP type "+value, false, "it is not ICMP")
	}
	return nil
}

// valueAndMask reads 0x1/0xff.
func valueAndMask(text string) (value, mask uint32, ok bool) {
	v, m, masked := strings.Cut(text, "/")
	if !masked {
		m = "0xffffffff"
	}
	a, err := strconv.ParseUint(v, 0, 32)
	b, err2 := strconv.ParseUint(m, 0, 32)
	return uint32(a), uint32(b), err == nil && err2 == nil
}

// addressRange returns the condition on a range of addresses.
func addressRange(text, first, last string, isSource, not bool) *netfilter.Condition {
	a, err := netip.ParseAddr(first)
	b, err2 := netip.ParseAddr(last)
	if err != nil || err2 != nil {
		return unknown(text)
	}
	prefixes := []netip.Prefix{netip.PrefixFrom(a, a.BitLen()), netip.PrefixFrom(b, b.BitLen())}
	c := destination(text, prefixes, false)
	of := func(p *netfilter.Packet) netip.Addr { return p.Destination.Addr() }
	if isSource {
		c = source(text, prefixes, false)
		of = func(p *netfilter.Packet) netip.Addr { return p.Source.Addr() }
	}
	c.Words = strings.Replace(c.Words, ", ", " up to ", 1)
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		return netfilter.Is(of(p).BitLen() == a.BitLen() && of(p).Compare(a) >= 0 && of(p).Compare(b) <= 0)
	}
	return negated(c, not)
}
