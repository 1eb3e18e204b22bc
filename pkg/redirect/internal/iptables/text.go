// SPDX-License-Identifier: Apache-2.0

//go:build linux

package iptables

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Transaction returns one table of a script for iptables-restore, or "" if there are no
// lines.
func Transaction(table string, lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "*" + table + "\n" + strings.Join(lines, "\n") + "\nCOMMIT\n"
}

// ListedRule is one rule of `iptables -v -S`.
type ListedRule struct {
	Chain string
	// Words are the conditions and the target, quoted as they were.
	Words          []string
	Packets, Bytes uint64
}

// ParseRule reads one line such as
//
//	-A OUTPUT -p tcp -c 12 720 -j PROXY_CLIENT_OUTPUT
func ParseRule(line string) (ListedRule, error) {
	words, err := split(line)
	if err != nil {
		return ListedRule{}, err
	}
	if len(words) < 2 || words[0] != "-A" {
		return ListedRule{}, errors.New("it does not begin with -A and a chain")
	}
	l := ListedRule{Chain: words[1]}
	l.Words, err = l.takeCounters(words[2:])
	if err != nil {
		return ListedRule{}, err
	}
	return l, nil
}

// takeCounters reads -c PACKETS BYTES, and returns the other words. A -c without two numbers
// behind it may be the text of a comment, which iptables does not quote.
func (l *ListedRule) takeCounters(words []string) ([]string, error) {
	var err error
	for i, word := range words {
		if word != "-c" {
			continue
		}
		if len(words) < i+3 {
			return nil, fmt.Errorf("-c has no two counters behind it")
		}
		var perr, berr error
		l.Packets, perr = strconv.ParseUint(words[i+1], 10, 64)
		l.Bytes, berr = strconv.ParseUint(words[i+2], 10, 64)
		if err = errors.Join(perr, berr); err == nil {
			return slices.Concat(words[:i], words[i+3:]), nil
		}
	}
	return words, err
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
