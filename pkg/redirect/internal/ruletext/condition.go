// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// The conditions that both notations have.

// destination returns the condition on the packet's destination, or on its source.
func destination(text string, prefixes []netip.Prefix, not bool) *netfilter.Condition {
	c := addresses(text, prefixes, func(p *netfilter.Packet) netip.Addr { return p.Destination.Addr() })
	c.Field, c.Destinations = netfilter.FieldDestination, prefixes
	c.Words = "to " + listed(prefixes)
	c.Fact = func(p *netfilter.Packet) string { return fmt.Sprintf("it goes to %s", p.Destination.Addr()) }
	return negated(c, not)
}

func source(text string, prefixes []netip.Prefix, not bool) *netfilter.Condition {
	c := addresses(text, prefixes, func(p *netfilter.Packet) netip.Addr { return p.Source.Addr() })
	c.Field = netfilter.FieldSource
	c.Words = "from " + listed(prefixes)
	c.Fact = func(p *netfilter.Packet) string { return fmt.Sprintf("it comes from %s", p.Source.Addr()) }
	return negated(c, not)
}

func addresses(text string, prefixes []netip.Prefix, of func(*netfilter.Packet) netip.Addr) *netfilter.Condition {
	return &netfilter.Condition{Text: text, Test: func(p *netfilter.Packet) netfilter.Answer {
		a := of(p)
		if !a.IsValid() {
			return netfilter.Unknown
		}
		return netfilter.Is(slices.ContainsFunc(prefixes, func(one netip.Prefix) bool { return one.Contains(a) }))
	}}
}

// negated returns the opposite of a condition if not is set.
func negated(c *netfilter.Condition, not bool) *netfilter.Condition {
	if !not {
		return c
	}
	test := c.Test
	c.Test = func(p *netfilter.Packet) netfilter.Answer { return test(p).Not() }
	c.Not, c.Words = true, "not "+c.Words
	return c
}

// listed returns values for people.
func listed[T any](values []T) string {
	words := make([]string, 0, len(values))
	for i, v := range values {
		if i == 5 && len(values) > 6 {
			words = append(words, fmt.Sprintf("%d more", len(values)-i))
			break
		}
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ", ")
}

// ranges returns ranges for people.
func ranges[T uint16 | uint32](all []netfilter.Range[T]) string {
	words := make([]string, 0, len(all))
	for _, r := range all {
		if r.First == r.Last {
			words = append(words, fmt.Sprint(r.First))
			continue
		}
		words = append(words, fmt.Sprintf("%d-%d", r.First, r.Last))
	}
	return listed(words)
}

// protocol returns the condition on the transport protocol.
func protocol(text string, names []string, not bool) *netfilter.Condition {
	return negated(&netfilter.Condition{
		Text: text, Words: "of protocol " + listed(names), Field: netfilter.FieldProtocol,
		Test: func(p *netfilter.Packet) netfilter.Answer { return netfilter.Is(slices.Contains(names, p.Protocol)) },
		Fact: func(p *netfilter.Packet) string { return "it is " + strings.ToUpper(p.Protocol) },
	}, not)
}

// ports returns the condition on ports; which is "destination", "source" or "any".
func ports(text, which string, all []netfilter.Range[uint16], not bool) *netfilter.Condition {
	within := func(port uint16) bool {
		return slices.ContainsFunc(all, func(r netfilter.Range[uint16]) bool { return r.Contains(port) })
	}
	c := &netfilter.Condition{Text: text, Words: "to port " + ranges(all)}
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		from := netfilter.Unknown // the kernel chooses the port when the app connects
		if port := p.Source.Port(); port != 0 {
			from = netfilter.Is(within(port))
		} else if !slices.ContainsFunc(all, ephemeral) {
			from = netfilter.No
		}
		to := netfilter.Is(within(p.Destination.Port()))
		switch {
		case which == "destination", which == "any" && to == netfilter.Yes:
			return to
		default:
			return from
		}
	}
	c.Fact = func(p *netfilter.Packet) string { return fmt.Sprintf("it goes to port %d", p.Destination.Port()) }
	switch which {
	case "destination":
		c.Field, c.Ports = netfilter.FieldPort, all
	case "source":
		c.Words = "from port " + ranges(all)
		c.Fact = func(p *netfilter.Packet) string {
			if p.Source.Port() == 0 {
				return "it comes from a port that the kernel chooses"
			}
			return fmt.Sprintf("it comes from port %d", p.Source.Port())
		}
	default:
		c.Words = "from or to port " + ranges(all)
		c.Ports = all
	}
	return negated(c, not)
}

// ephemeral reports whether the kernel may choose a port of a range for an app: by default
// from 32768 on (net.ipv4.ip_local_port_range). A smaller start is rare.
func ephemeral(r netfilter.Range[uint16]) bool { return r.Last >= 1024 }

// owner returns the condition on the user or the group of the sending socket.
func owner(text string, group bool, all []netfilter.Range[uint32], not bool) *netfilter.Condition {
	what, field := "uid", netfilter.FieldUID
	of := func(p *netfilter.Packet) uint32 { return p.UID }
	if group {
		what, field, of = "gid", netfilter.FieldGID, func(p *netfilter.Packet) uint32 { return p.GID }
	}
	c := &netfilter.Condition{
		Text: text, Words: fmt.Sprintf("of %s %s", what, ranges(all)), Field: field, Not: not,
		Test: func(p *netfilter.Packet) netfilter.Answer {
			// Without a socket neither the condition nor its negation holds: owner_mt
			// of net/netfilter/xt_owner.c, nft_meta_get_eval_skugid.
			within := slices.ContainsFunc(all, func(r netfilter.Range[uint32]) bool { return r.Contains(of(p)) })
			return netfilter.Is(p.Local && within != not)
		},
		Fact: func(p *netfilter.Packet) string {
			if !p.Local {
				return "no socket of this pod sends it"
			}
			return fmt.Sprintf("it is of %s %d", what, of(p))
		},
	}
	if not {
		c.Words = "not " + c.Words
	}
	if !group {
		c.UIDs = all
	}
	return c
}

// device returns the condition on the device by which a packet comes or leaves. A "+" or
// "*" at the end of a name stands for anything.
func device(text string, in bool, names []string, not bool) *netfilter.Condition {
	c := &netfilter.Condition{Text: text, Field: netfilter.FieldOut, Words: "by device " + listed(names)}
	of := func(p *netfilter.Packet) string { return p.Out }
	c.Fact = func(p *netfilter.Packet) string { return "it leaves by device " + p.Out }
	if in {
		c.Field, c.Words = netfilter.FieldIn, "that come by device "+listed(names)
		of = func(p *netfilter.Packet) string { return p.In }
		c.Fact = func(p *netfilter.Packet) string { return "it comes by device " + p.In }
	}
	c.Test = func(p *netfilter.Packet) netfilter.Answer {
		return netfilter.Is(slices.ContainsFunc(names, func(name string) bool {
			for _, wild := range []string{"+", "*"} {
				if start, ok := strings.CutSuffix(name, wild); ok {
					return strings.HasPrefix(of(p), start)
				}
			}
			return of(p) == name
		}))
	}
	return negated(c, not)
}

// state returns the condition on conntrack's state.
func state(text string, names []string, not bool) *netfilter.Condition {
	return negated(&netfilter.Condition{
		Text: text, Words: "in state " + listed(names), Field: netfilter.FieldState,
		Test: func(p *netfilter.Packet) netfilter.Answer {
			return netfilter.Is(slices.ContainsFunc(p.States(), func(s string) bool { return slices.Contains(names, s) }))
		},
		Fact: func(p *netfilter.Packet) string {
			return "it begins a connection: its state is " + strings.Join(p.States(), ",")
		},
	}, not)
}

// direction returns the condition on the direction in a connection. The first packet has
// the original direction.
func direction(text, name string, not bool) *netfilter.Condition {
	return negated(&netfilter.Condition{
		Text: text, Words: "in direction " + name, Field: netfilter.FieldDirection,
		Test: func(p *netfilter.Packet) netfilter.Answer {
			return netfilter.Is(p.State == "NEW" && strings.EqualFold(name, "original"))
		},
		Fact: func(*netfilter.Packet) string { return "it begins a connection, so it is no reply" },
	}, not)
}

// mark returns the condition on the mark of a packet, or of its connection.
func mark(text string, connection bool, value, mask uint32, not bool) *netfilter.Condition {
	what, of := "mark", func(p *netfilter.Packet) uint32 { return p.Mark }
	if connection {
		what, of = "connection mark", func(p *netfilter.Packet) uint32 { return p.ConnMark }
	}
	return negated(&netfilter.Condition{
		Text: text, Words: fmt.Sprintf("with %s %#x", what, value),
		Test: func(p *netfilter.Packet) netfilter.Answer { return netfilter.Is(of(p)&mask == value) },
		Fact: func(p *netfilter.Packet) string { return fmt.Sprintf("its %s is %#x", what, of(p)) },
	}, not)
}

// local returns the condition that an address is of a type, as `-m addrtype` has it.
func local(text, kind string, source, not bool) *netfilter.Condition {
	of := func(p *netfilter.Packet) netip.Addr { return p.Destination.Addr() }
	words := "to "
	if source {
		words, of = "from ", func(p *netfilter.Packet) netip.Addr { return p.Source.Addr() }
	}
	kind = strings.ToUpper(kind)
	return negated(&netfilter.Condition{
		Text: text, Words: words + "addresses of type " + kind,
		Test: func(p *netfilter.Packet) netfilter.Answer {
			switch kind {
			case "LOCAL":
				return netfilter.Is(p.IsLocal(of(p)))
			case "UNICAST":
				return netfilter.Is(!p.IsLocal(of(p)) && !of(p).IsMulticast())
			case "MULTICAST":
				return netfilter.Is(of(p).IsMulticast())
			default:
				return netfilter.Unknown
			}
		},
		Fact: func(p *netfilter.Packet) string {
			if p.IsLocal(of(p)) {
				return fmt.Sprintf("%s is an address of this pod", of(p))
			}
			return fmt.Sprintf("%s is no address of this pod", of(p))
		},
	}, not)
}

// unknown returns a condition that cannot be evaluated from here.
func unknown(text string) *netfilter.Condition {
	return &netfilter.Condition{
		Text: text, Words: fmt.Sprintf("that match %q", text),
		Test: func(*netfilter.Packet) netfilter.Answer { return netfilter.Unknown },
	}
}

// always returns a condition with one answer for the first packet of a connection.
func always(text, words string, holds bool, fact string) *netfilter.Condition {
	return &netfilter.Condition{
		Text: text, Words: words,
		Test: func(*netfilter.Packet) netfilter.Answer { return netfilter.Is(holds) },
		Fact: func(*netfilter.Packet) string { return fact },
	}
}

// parseRange reads "80" and "80:90", with the separator of the notation.
func parseRange[T uint16 | uint32](text, separator string) (netfilter.Range[T], bool) {
	bits := 32
	if ^T(0) == T(^uint16(0)) {
		bits = 16
	}
	from, to, ranged := strings.Cut(text, separator)
	if !ranged {
		to = from
	}
	first, err := strconv.ParseUint(from, 0, bits)
	last, err2 := strconv.ParseUint(to, 0, bits)
	return netfilter.Range[T]{First: T(first), Last: T(last)}, err == nil && err2 == nil
}

// tcpFlags returns the condition on TCP's flags: of those in mask, the ones in set. The
// first packet has SYN alone.
func tcpFlags(text string, mask, set []string, not bool) *netfilter.Condition {
	fits := true
	for _, flag := range mask {
		flag = strings.ToLower(flag)
		if flag == "all" {
			mask = []string{"fin", "syn", "rst", "psh", "ack", "urg"}
			return tcpFlags(text, mask, set, not)
		}
		wanted := slices.ContainsFunc(set, func(s string) bool { return strings.EqualFold(s, flag) })
		fits = fits && wanted == (flag == "syn")
	}
	c := &netfilter.Condition{
		Text: text, Words: "with TCP flags " + strings.Join(set, ",") + " of " + strings.Join(mask, ","), Field: netfilter.FieldFlags,
		Test: func(p *netfilter.Packet) netfilter.Answer { return netfilter.Is(p.Protocol == "tcp" && fits != not) },
		Fact: func(p *netfilter.Packet) string {
			if p.Protocol != "tcp" {
				return "it is not TCP"
			}
			return "it is the SYN that begins a connection"
		},
		Not: not,
	}
	if not {
		c.Words = "not " + c.Words
	}
	return c
}
