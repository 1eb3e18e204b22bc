// SPDX-License-Identifier: Apache-2.0

// Package yamlsyntax says in plain words why a text is no YAML, and what to do. It
// parses nothing itself: it translates what go.yaml.in/yaml says.
package yamlsyntax

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// Problem is the end of a sentence that begins with the name of text, which a parser
// has refused with err.
func Problem(err error, text []byte) string {
	if line := Template(text); line > 0 {
		return fmt.Sprintf("has {{ outside of quotes (line %d): if it is a template, render it first, as 'helm template' does, else write quotes", line)
	}
	return "does not parse: " + plain(err.Error())
}

// plain is what a parser said in plain words, and as it was said where there are none.
func plain(said string) string {
	said = OneLine(said)
	for _, m := range messages() {
		if strings.Contains(said, m.library) {
			return near(said) + m.plain
		}
	}
	if m := anchor.FindStringSubmatch(said); m != nil {
		return fmt.Sprintf("%sthe alias *%s has no anchor &%s before it: write out what it stands for", near(said), m[1], m[1])
	}
	if place.MatchString(said) {
		said = strings.Replace(said, "line ", "near line ", 1)
	}
	return said
}

// anchor finds the name of one that is not there.
var anchor = regexp.MustCompile(`unknown anchor '(\S+)' referenced`)

// place finds the line in a parser's message.
var place = regexp.MustCompile(`\bline (\d+)\b`)

// near is where the parser stopped. Its scanner counts lines from 1, and the rest of it
// from 0, so the line is one of two.
func near(said string) string {
	if m := place.FindStringSubmatch(said); m != nil {
		return "near line " + m[1] + ": "
	}
	return ""
}

// templated is a value, an element or a line that begins with a template's braces
// outside of quotes.
var templated = regexp.MustCompile(`(?m)^[ \t]*(?:- +)*(?:["']?[\w./-]+["']?:[ \t]+)?\{\{`)

// Template returns the line, from 1, in which text has a template's action outside of
// quotes, or 0.
func Template(text []byte) int {
	at := templated.FindIndex(text)
	if at == nil {
		return 0
	}
	return 1 + bytes.Count(text[:at[1]], []byte("\n"))
}

// OneLine makes one line of a parser's several, without what it begins each with. What
// it quotes of a file may be anything.
func OneLine(said string) string {
	said = strings.TrimPrefix(said, "yaml: ")
	said = strings.TrimPrefix(said, "unmarshal errors:\n")
	said, _, _ = strings.Cut(said, "\n")
	return strings.Join(strings.FieldsFunc(said, func(r rune) bool { return unicode.IsControl(r) || r == ' ' }), " ")
}

// message is what the library says, and what we say.
type message struct{ library, plain string }

// messages are those that people meet.
func messages() []message {
	return []message{
		{"found a tab character", "a tab is where only spaces can be: indent with spaces"},
		{"found character that cannot start any token", "a value begins with a tab, @, ` or %, which it cannot: indent with spaces, and write such a value in quotes"},
		{"mapping values are not allowed in this context", "a colon is where none can be: check the indentation, and write a text with a colon in quotes"},
		{"block sequence entries are not allowed in this context", "a list's dash is where none can be: begin the list in the line below its key"},
		{"did not find expected '-' indicator", "something other than an element is in a list: check the indentation"},
		{"did not find expected key", "a line does not fit to those above: check its indentation and its quotes"},
		{"could not find expected ':'", "a line has no colon behind its key: add it, or check the indentation"},
		{"did not find expected ',' or ']'", "a list in [ ] has no end, or lacks a comma"},
		{"did not find expected ',' or '}'", "a mapping in { } has no end, or lacks a comma"},
		{"did not find expected node content", "a value is missing, or a list in [ ] or a mapping in { } has no end"},
		{"found unexpected end of stream", "a quoted text has no end: close its quotes"},
		{"found unexpected document indicator", "a quoted text has no end before the next document: close its quotes"},
		{"found unknown escape character", "a text in double quotes has a backslash that escapes nothing: use single quotes"},
		{"control characters are not allowed", "there is a control character: remove it"},
		{"UTF-8", "it is not UTF-8: convert it"},
		{"did not find expected alphabetic or numeric character", "a value begins with & or *, which makes it an anchor or an alias: write it in quotes"},
		{"map merge requires map or sequence of maps as the value", "<< takes over something that is no mapping: give it a mapping's alias"},
		{"value contains invalid base64 data", "a value that is tagged !!binary is no base64: encode it, or remove the tag"},
		{"cannot decode !!", "a value is not what its tag says: remove the tag"},
		{"did not find expected <document start>", "a second document begins without ---: write that on a line of its own in between"},
	}
}
