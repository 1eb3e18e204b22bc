// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// passing are the targets of iptables behind which the next rule follows, and on whose
// change no rule and no route depends.
func passing() []string {
	return []string{
		"LOG", "NFLOG", "ULOG", "TRACE", "TCPMSS", "TCPOPTSTRIP", "DSCP", "TOS", "TTL", "HL", "CLASSIFY", "CHECKSUM", "ECN", "SET", "AUDIT",
		"CONNSECMARK", "SECMARK", "RATEEST", "LED", "IDLETIMER", "HMARK", "TEE",
	}
}

// target reads -j or -g with the target's own options.
func target(o option, own []option) *netfilter.Action {
	name := o.value()
	a := &netfilter.Action{Text: o.text()}
	for _, one := range own {
		a.Text += " " + one.text()
	}
	if o.name == "-g" {
		a.Verb, a.Chain = netfilter.Goto, name
		return a
	}
	get := func(names ...string) string {
		for _, one := range own {
			if slices.Contains(names, one.name) {
				return one.value()
			}
		}
		return ""
	}
	has := func(name string) bool {
		return slices.ContainsFunc(own, func(o option) bool { return o.name == name })
	}
	switch name {
	case "ACCEPT":
		a.Verb = netfilter.Accept
	case "DROP":
		a.Verb = netfilter.Drop
	case "RETURN":
		a.Verb = netfilter.Return
	case "REJECT":
		a.Verb, a.With = netfilter.Reject, get("--reject-with")
	case "REDIRECT":
		a.Verb, a.Port = netfilter.Redirect, firstPort(get("--to-ports"))
	case "DNAT":
		a.Verb = netfilter.DNAT
		to := get("--to-destination")
		a.To, a.Port = firstTarget(to)
		a.SameAddress = strings.HasPrefix(to, ":") && strings.Count(to, ":") == 1
	case "SNAT", "MASQUERADE", "NETMAP":
		a.Verb = netfilter.SNAT
		if name == "NETMAP" {
			a.Verb = netfilter.DNAT // it computes the address
		}
	case "NOTRACK":
		a.Verb = netfilter.NoTrack
	case "CT":
		if has("--notrack") {
			a.Verb = netfilter.NoTrack
		}
	case "TPROXY":
		a.Verb, a.Port = netfilter.TProxy, firstPort(get("--on-port"))
		if to, err := netip.ParseAddr(get("--on-ip")); err == nil && !to.IsUnspecified() {
			a.To = to
		}
	case "QUEUE", "NFQUEUE":
		a.Verb = netfilter.Queue
	case "MARK":
		a.Verb, a.Mark = netfilter.SetMark, newMark(own, func(p *netfilter.Packet) uint32 { return p.Mark })
	case "CONNMARK":
		connmark(a, own)
	default:
		a.Verb, a.Chain = netfilter.Jump, name
		if slices.Contains(passing(), name) {
			a.Verb = netfilter.Continue
		}
	}
	if a.Verb == netfilter.SetMark && a.Mark == nil || a.Verb == netfilter.SetConnMark && a.Mark == nil {
		a.Verb = netfilter.Opaque
	}
	return a
}

// connmark reads the options of CONNMARK.
func connmark(a *netfilter.Action, own []option) {
	for _, o := range own {
		switch o.name {
		case "--restore-mark":
			to, from := masks(own)
			a.Verb, a.Mark = netfilter.SetMark, func(p *netfilter.Packet) uint32 { return p.Mark&^to ^ p.ConnMark&from }
		case "--save-mark":
			from, to := masks(own)
			a.Verb, a.Mark = netfilter.SetConnMark, func(p *netfilter.Packet) uint32 { return p.ConnMark&^to ^ p.Mark&from }
		}
	}
	if a.Verb == netfilter.Continue {
		a.Verb, a.Mark = netfilter.SetConnMark, newMark(own, func(p *netfilter.Packet) uint32 { return p.ConnMark })
	}
}

// masks returns the masks of the packet's and of the connection's mark.
func masks(own []option) (packet, connection uint32) {
	packet, connection = 0xffffffff, 0xffffffff
	for _, o := range own {
		value, _, ok := valueAndMask(o.value())
		switch {
		case !ok:
		case o.name == "--nfmask":
			packet = value
		case o.name == "--ctmask":
			connection = value
		case o.name == "--mask":
			packet, connection = value, value
		}
	}
	return packet, connection
}

// newMark reads --set-xmark and its relatives: the bits of the mask are cleared, and then
// the value is XORed (xt_mark.c).
func newMark(own []option, old func(*netfilter.Packet) uint32) func(*netfilter.Packet) uint32 {
	for _, o := range own {
		value, mask, ok := valueAndMask(o.value())
		if !ok {
			continue
		}
		switch o.name {
		case "--set-xmark":
			return func(p *netfilter.Packet) uint32 { return old(p)&^mask ^ value }
		case "--set-mark":
			return func(p *netfilter.Packet) uint32 { return old(p)&^(mask|value) | value }
		case "--and-mark":
			return func(p *netfilter.Packet) uint32 { return old(p) & value }
		case "--or-mark":
			return func(p *netfilter.Packet) uint32 { return old(p) | value }
		case "--xor-mark":
			return func(p *netfilter.Packet) uint32 { return old(p) ^ value }
		}
	}
	return nil
}

// firstPort reads the first port of "80" and "80-90"; 0 is none.
func firstPort(text string) uint16 {
	first, _, _ := strings.Cut(text, "-")
	port, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return 0
	}
	return uint16(port)
}

// firstTarget reads 192.0.2.1, 192.0.2.1:80, [2001:db8::1]:80-90 and :80. A range of
// addresses has no address that can be told.
func firstTarget(text string) (netip.Addr, uint16) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return a, 0
	}
	host, port := text, ""
	if i := strings.LastIndex(text, ":"); i >= 0 && (strings.HasPrefix(text, "[") || strings.Count(text, ":") == 1) {
		host, port = text[:i], text[i+1:]
	}
	a, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return netip.Addr{}, firstPort(port)
	}
	return a, firstPort(port)
}
