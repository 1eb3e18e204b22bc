// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Rule is one iptables rule, as far as this package ever writes any. All of
// its conditions have to hold; the zero value of a field is no condition.
type Rule struct {
	// Destination is where the packet goes.
	Destination netip.Prefix
	// Out is the device it leaves by; "! " before the name is any other.
	Out string
	// TCP is set for a rule that looks at TCP only, NotTCP for the contrary.
	TCP, NotTCP bool
	// NotSYN is set for TCP packets that do not ask for a connection.
	NotSYN bool
	// Ports holds TCP destination ports, sorted: at most 15 (xt_multiport.h), of which
	// three or more in a row count as two.
	Ports []uint16
	// ICMPv6 is a type of ICMPv6 message (RFC 4443); 0 is any packet.
	ICMPv6 uint8
	// CTState is conntrack's state of the packet, such as INVALID; "! " before
	// several is none of them.
	CTState string
	// CTDir is ORIGINAL, for packets of the side that began a connection, or
	// REPLY.
	CTDir string
	// UID is the user whose socket sent it; nil is anybody, also the kernel.
	UID *uint32
	// NoSocket is set for packets of a connection whose app has closed it: what
	// was not sent by then has no socket any more, and so no user.
	NoSocket bool
	// Jump is the chain or target that it is handed to.
	Jump string
	// ToPort is the port of target REDIRECT.
	ToPort uint16
	// RejectWith is the answer of target REJECT.
	RejectWith string

	// foreign is what somebody else's rule has beside these, in its own
	// words. It makes such a rule different from every one of ours.
	foreign string
}

// String is the rule in the words of iptables, without table and chain.
func (r Rule) String() string {
	var words []string
	add := func(w ...string) { words = append(words, w...) }
	if r.Destination.IsValid() {
		add("-d", r.Destination.String())
	}
	if r.Out != "" {
		device, other := strings.CutPrefix(r.Out, "! ")
		if other {
			add("!")
		}
		add("-o", device)
	}
	switch {
	case r.TCP:
		add("-p", "tcp")
	case r.NotTCP:
		add("!", "-p", "tcp")
	case r.ICMPv6 != 0:
		add("-p", "ipv6-icmp", "-m", "icmp6", "--icmpv6-type", strconv.Itoa(int(r.ICMPv6)))
	}
	if r.NotSYN {
		add("-m", "tcp", "!", "--tcp-flags", synFlags[0], synFlags[1]) // how iptables shows ! --syn
	}
	switch len(r.Ports) {
	case 0:
	case 1:
		add("-m", "tcp", "--dport", portList(r.Ports))
	default:
		add("-m", "multiport", "--dports", portList(r.Ports))
	}
	if r.CTState != "" {
		add("-m", "conntrack")
		states, other := strings.CutPrefix(r.CTState, "! ")
		if other {
			add("!")
		}
		add("--ctstate", states)
	}
	if r.CTDir != "" {
		add("-m", "conntrack", "--ctdir", r.CTDir)
	}
	if r.UID != nil {
		add("-m", "owner", "--uid-owner", strconv.FormatUint(uint64(*r.UID), 10))
	}
	if r.NoSocket {
		add("-m", "owner", "!", "--socket-exists")
	}
	if r.foreign != "" {
		add(r.foreign)
	}
	if r.Jump != "" {
		add("-j", r.Jump)
	}
	if r.ToPort != 0 {
		add("--to-ports", strconv.Itoa(int(r.ToPort)))
	}
	if r.RejectWith != "" {
		add("--reject-with", r.RejectWith)
	}
	return strings.Join(words, " ")
}

// synFlags are the flags that --syn looks at, and those that have to be set.
var synFlags = [2]string{"FIN,SYN,RST,ACK", "SYN"}

// listed is a rule as `iptables -v -S` shows it.
type listed struct {
	chain          string
	rule           Rule
	raw            string // its words without -A, chain and counters, quoted as they were
	packets, bytes uint64
}

// parseRule reads one line of `iptables -v -S`, such as
//
//	-A OUTPUT -p tcp -c 12 720 -j PROXY_CLIENT_OUTPUT
//
// The order of the conditions, implied modules (-m tcp) and the ways to write
// an address do not matter to the result: backends and versions of iptables
// differ in them.
func parseRule(line string) (listed, error) {
	words, err := split(line)
	if err != nil {
		return listed{}, fmt.Errorf("read rule %q: %w", line, err)
	}
	if len(words) < 2 || words[0] != "-A" {
		return listed{}, fmt.Errorf("read rule %q: it does not begin with -A and a chain", line)
	}
	l := listed{chain: words[1]}
	words, err = l.takeCounters(words[2:])
	if err != nil {
		return listed{}, fmt.Errorf("read rule %q: %w", line, err)
	}
	l.raw = strings.Join(words, " ")
	var foreign []string
	for len(words) > 0 {
		n := l.rule.take(words)
		if n == 0 {
			foreign = append(foreign, words[0])
			n = 1
		}
		words = words[n:]
	}
	l.rule.foreign = strings.Join(foreign, " ")
	slices.Sort(l.rule.Ports)
	return l, nil
}

// takeCounters reads and removes -c PACKETS BYTES. A -c without two numbers
// behind it may be the text of somebody's comment, which iptables does not
// quote.
func (l *listed) takeCounters(words []string) ([]string, error) {
	var err error
	for i, word := range words {
		if word != "-c" {
			continue
		}
		if len(words) < i+3 {
			return nil, fmt.Errorf("-c has no two counters behind it")
		}
		var perr, berr error
		l.packets, perr = strconv.ParseUint(words[i+1], 10, 64)
		l.bytes, berr = strconv.ParseUint(words[i+2], 10, 64)
		if err = errors.Join(perr, berr); err == nil {
			return slices.Concat(words[:i], words[i+3:]), nil
		}
	}
	return words, err
}

// take reads the condition or target at the start of words into r, and returns
// how many words that were: 0 where it is none that this package writes, or
// one that r has already (a rule cannot have two destinations, but two
// multiport conditions).
func (r *Rule) take(words []string) int {
	if len(words) < 2 {
		return 0
	}
	if n := r.takeProtocol(words); n > 0 {
		return n
	}
	if words[0] == "! --socket-exists" && !r.NoSocket {
		r.NoSocket = true
		return 1
	}
	value, done := words[1], false
	switch words[0] {
	case "-d":
		if p, ok := parseDestination(value); ok && !r.Destination.IsValid() {
			r.Destination, done = p, true
		}
	case "-o":
		if r.Out == "" {
			r.Out, done = value, true
		}
	case "! -o":
		if r.Out == "" {
			r.Out, done = "! "+value, true
		}
	case "-m":
		// A module with no condition does nothing; its conditions follow.
		done = slices.Contains([]string{"tcp", "multiport", "owner", "conntrack"}, value)
	case "--dport", "--dports":
		if ports, ok := parsePorts(value); ok && r.Ports == nil {
			r.Ports, done = ports, true
		}
	case "--ctstate":
		if r.CTState == "" {
			r.CTState, done = value, true
		}
	case "! --ctstate":
		if r.CTState == "" {
			r.CTState, done = "! "+value, true
		}
	case "--ctdir":
		if r.CTDir == "" {
			r.CTDir, done = value, true
		}
	case "--uid-owner":
		if n, err := strconv.ParseUint(value, 10, 32); err == nil && r.UID == nil {
			uid := uint32(n)
			r.UID, done = &uid, true
		}
	case "-j":
		if r.Jump == "" {
			r.Jump, done = value, true
		}
	case "--to-ports":
		if ports, ok := parsePorts(value); ok && len(ports) == 1 && r.ToPort == 0 {
			r.ToPort, done = ports[0], true
		}
	case "--reject-with":
		if r.RejectWith == "" {
			r.RejectWith, done = value, true
		}
	}
	if !done {
		return 0
	}
	return 2
}

// takeProtocol is take for the conditions on protocols.
func (r *Rule) takeProtocol(words []string) int {
	first := !r.TCP && !r.NotTCP && r.ICMPv6 == 0
	switch {
	case words[0] == "-p" && words[1] == "tcp" && first:
		r.TCP = true
		return 2
	case words[0] == "! -p" && words[1] == "tcp" && first:
		r.NotTCP = true
		return 2
	case words[0] == "! --tcp-flags" && len(words) > 2 && [2]string(words[1:3]) == synFlags && r.TCP && !r.NotSYN:
		r.NotSYN = true
		return 3
	case len(words) > 5 && strings.HasPrefix(strings.Join(words, " "), "-p ipv6-icmp -m icmp6 --icmpv6-type ") && first:
		if n, err := strconv.ParseUint(words[5], 10, 8); err == nil && n > 0 {
			r.ICMPv6 = uint8(n)
			return 6
		}
	}
	return 0
}

// parseDestination reads 10.0.0.0/8, 192.0.2.1 and 2001:db8::1/128.
func parseDestination(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p, err == nil && p == p.Masked()
}

// split cuts a line into words, at spaces that are not inside double quotes.
// Words keep their quotes and backslashes, so that joined again they are still
// what iptables-restore reads. "!" stays with the word that it negates.
func split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, escaped := false, false
	flush := func() {
		if word.Len() == 0 {
			return
		}
		words = append(words, word.String())
		word.Reset()
	}
	for _, c := range line {
		switch {
		case escaped:
			escaped = false
		case c == '\\' && quoted:
			escaped = true
		case c == '"':
			quoted = !quoted
		case (c == ' ' || c == '\t') && !quoted:
			if word.String() != "!" {
				flush()
				continue
			}
			c = ' '
		}
		word.WriteRune(c)
	}
	if quoted {
		return nil, fmt.Errorf("a quotation does not end")
	}
	flush()
	return words, nil
}
