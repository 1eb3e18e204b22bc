// SPDX-License-Identifier: Apache-2.0

// Package yamlsyntax explains in plain words why a text is not YAML, and what to do. It
// parses nothing itself: it translates the messages of go.yaml.in/yaml.
package yamlsyntax

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Problem returns the end of a sentence that begins with the name of text. err is the
// error with which a parser has refused text.
func Problem(err error, text []byte) string {
	if line := Template(text); line > 0 {
		return fmt.Sprintf("has {{ outside of quotes (line %d): if it is a template, render it first, as 'helm template' does, else write quotes", line)
	}
	return "does not parse: " + translate(err.Error())
}

// translate returns a parser's message in plain words, or unchanged if it is not in
// messages.
func translate(message string) string {
	message = OneLine(message)
	for _, m := range messages() {
		if strings.Contains(message, m.library) {
			if strings.HasPrefix(m.library, "did not find expected ','") {
				message = countedFromOne(message)
			}
			return location(message) + m.plain
		}
	}
	if m := anchorPattern.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("%sthe alias *%s has no anchor &%s before it: write out what it stands for", location(message), m[1], m[1])
	}
	if linePattern.MatchString(message) {
		message = strings.Replace(message, "line ", "near line ", 1)
	}
	return message
}

// anchorPattern finds the name of a missing anchor.
var anchorPattern = regexp.MustCompile(`unknown anchor '(\S+)' referenced`)

// linePattern finds the line number in a parser's message.
var linePattern = regexp.MustCompile(`\bline (\d+)\b`)

// location says where the parser stopped. Its scanner counts lines from 1, and the rest
// of it from 0. So the mistake is in this line or the next.
func location(message string) string {
	if m := linePattern.FindStringSubmatch(message); m != nil {
		return "near line " + m[1] + ": "
	}
	return ""
}

// countedFromOne adds 1 to the line number in a message of the library's parser about a list or
// a mapping in brackets. It is the number of the line where that begins, counted from 0.
func countedFromOne(message string) string {
	return linePattern.ReplaceAllStringFunc(message, func(text string) string {
		line, err := strconv.Atoi(strings.TrimPrefix(text, "line "))
		if err != nil {
			return text
		}
		return fmt.Sprintf("line %d", line+1)
	})
}

// templatePattern finds a value, an element or a line that begins with a template's
// braces, outside of quotes.
var templatePattern = regexp.MustCompile(`(?m)^[ \t]*(?:- +)*(?:["']?[\w./-]+["']?:[ \t]+)?\{\{`)

// Template returns the number of the first line with a template's braces outside of
// quotes, counted from 1. It returns 0 if there is none.
func Template(text []byte) int {
	at := templatePattern.FindIndex(text)
	if at == nil {
		return 0
	}
	return 1 + bytes.Count(text[:at[1]], []byte("\n"))
}

// OneLine returns the first line of a parser's message, without its usual prefixes. It
// removes control characters, because the message may quote anything from a file.
func OneLine(message string) string {
	message = strings.TrimPrefix(message, "yaml: ")
	message = strings.TrimPrefix(message, "unmarshal errors:\n")
	message, _, _ = strings.Cut(message, "\n")
	return strings.Join(strings.FieldsFunc(message, func(r rune) bool { return unicode.IsControl(r) || r == ' ' }), " ")
}

// message is a text of the library, and our translation.
type message struct{ library, plain string }

// messages returns the messages that occur in practice.
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
