// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
)

// Listed is a rule as `iptables -v -S` shows it.
type Listed struct {
	Chain          string
	Rule           Rule
	Raw            string // its words without -A, chain and counters, with their quotes
	Packets, Bytes uint64
}

// Target returns the chain or target to which a rule hands packets (-j, or -g), or "" if it
// has none.
func (l Listed) Target() string {
	if l.Rule.Jump != "" {
		return l.Rule.Jump
	}
	words := " " + l.Rule.foreign
	if i := strings.LastIndex(words, " -g "); i >= 0 {
		return words[i+len(" -g "):]
	}
	return ""
}

// ParseChain reads the rules in a listing. It skips the lines that declare the chain (-N,
// -P) or warn (#).
func ParseChain(lines []string) ([]Listed, error) {
	rules := []Listed{}
	for _, line := range lines {
		if !strings.HasPrefix(line, "-A ") {
			continue
		}
		one, err := Parse(line)
		if err != nil {
			return nil, err
		}
		rules = append(rules, one)
	}
	return rules, nil
}

// Parse reads one line of `iptables -v -S`, such as
//
//	-A OUTPUT -p tcp -c 12 720 -j PROXY_CLIENT_OUTPUT
//
// The result does not depend on the order of the conditions, on implied modules (-m tcp), or
// on how an address is written: backends and versions of iptables differ in them.
func Parse(line string) (Listed, error) {
	listed, err := iptables.ParseRule(line)
	if err != nil {
		return Listed{}, fmt.Errorf("read rule %q: %w", line, err)
	}
	words := listed.Words
	l := Listed{Chain: listed.Chain, Raw: strings.Join(words, " "), Packets: listed.Packets, Bytes: listed.Bytes}
	var foreign []string
	for len(words) > 0 {
		n := l.Rule.take(words)
		if n == 0 {
			foreign = append(foreign, words[0])
			n = 1
		}
		words = words[n:]
	}
	l.Rule.foreign = strings.Join(foreign, " ")
	slices.Sort(l.Rule.Ports)
	return l, nil
}

// take reads the condition or target at the start of words into r, and returns how many words
// it has. The result is 0 if this package never writes it, or if r has one like it already: a
// rule cannot have two destinations, but it can have two multiport conditions.
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
		if p, ok := condition.ParseDestination(value); ok && !r.Destination.IsValid() {
			r.Destination, done = p, true
		}
	case "-o":
		done = setIfEmpty(&r.Out, value)
	case "! -o":
		done = setIfEmpty(&r.Out, "! "+value)
	case "-m":
		// A module without conditions does nothing. Its conditions follow.
		done = slices.Contains([]string{"tcp", "multiport", "owner", "conntrack"}, value)
	case "--dport", "--dports":
		if ports, ok := condition.ParsePorts(value); ok && r.Ports == nil {
			r.Ports, done = ports, true
		}
	case "--ctstate":
		done = setIfEmpty(&r.CTState, value)
	case "! --ctstate":
		done = setIfEmpty(&r.CTState, "! "+value)
	case "--ctdir":
		done = setIfEmpty(&r.CTDir, value)
	case "--uid-owner":
		if n, err := strconv.ParseUint(value, 10, 32); err == nil && r.UID == nil {
			uid := uint32(n)
			r.UID, done = &uid, true
		}
	case "-j":
		done = setIfEmpty(&r.Jump, value)
	case "--to-ports":
		if ports, ok := condition.ParsePorts(value); ok && len(ports) == 1 && r.ToPort == 0 {
			r.ToPort, done = ports[0], true
		}
	case "--reject-with":
		done = setIfEmpty(&r.RejectWith, value)
	}
	if !done {
		return 0
	}
	return 2
}

// setIfEmpty sets field if it is empty, and reports whether it was.
func setIfEmpty(field *string, value string) bool {
	if *field != "" {
		return false
	}
	*field = value
	return true
}

// takeProtocol is [Rule.take] for the conditions on protocols.
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
