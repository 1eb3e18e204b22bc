// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/condition"
)

// listedRule is a rule as `iptables -v -S` shows it.
type listedRule struct {
	chain          string
	rule           Rule
	raw            string // its words without -A, chain and counters, with their quotes
	packets, bytes uint64
}

// parseRule reads one line of `iptables -v -S`, such as
//
//	-A OUTPUT -p tcp -c 12 720 -j PROXY_CLIENT_OUTPUT
//
// The result does not depend on the order of the conditions, on implied modules (-m tcp), or
// on how an address is written: backends and versions of iptables differ in them.
func parseRule(line string) (listedRule, error) {
	words, err := split(line)
	if err != nil {
		return listedRule{}, fmt.Errorf("read rule %q: %w", line, err)
	}
	if len(words) < 2 || words[0] != "-A" {
		return listedRule{}, fmt.Errorf("read rule %q: it does not begin with -A and a chain", line)
	}
	l := listedRule{chain: words[1]}
	words, err = l.takeCounters(words[2:])
	if err != nil {
		return listedRule{}, fmt.Errorf("read rule %q: %w", line, err)
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

// takeCounters reads -c PACKETS BYTES, and returns the other words. A -c without two numbers
// behind it may be the text of a comment, which iptables does not quote.
func (l *listedRule) takeCounters(words []string) ([]string, error) {
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
		if r.Out == "" {
			r.Out, done = value, true
		}
	case "! -o":
		if r.Out == "" {
			r.Out, done = "! "+value, true
		}
	case "-m":
		// A module without conditions does nothing. Its conditions follow.
		done = slices.Contains([]string{"tcp", "multiport", "owner", "conntrack"}, value)
	case "--dport", "--dports":
		if ports, ok := condition.ParsePorts(value); ok && r.Ports == nil {
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
		if ports, ok := condition.ParsePorts(value); ok && len(ports) == 1 && r.ToPort == 0 {
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

// split splits a line into words, at spaces that are not inside double quotes. Words keep
// their quotes and backslashes, so that iptables-restore can read them when they are joined
// again. "!" is one word with the word that it negates.
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
