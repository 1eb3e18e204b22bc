// SPDX-License-Identifier: Apache-2.0

// Package clip limits the length of texts that contain a peer's words, before they go
// into a log, an error or an answer. A certificate with 90 names, for example, makes 57
// KB. It also replaces what is not printable. It does not interpret the text.
//
//	return fmt.Errorf("the server says: %s", clip.Text(message, clip.Sentence))
package clip

import (
	"fmt"
	"log/slog"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits in bytes.
const (
	Words    = 80      // what a library says, inside a sentence of ours
	Clause   = 320     // what is said about one of several
	Sentence = 1 << 10 // a text that is part of another
	Value    = 2 << 10 // a value in a log line, or an answer for people
)

// Text returns s if it has at most most bytes. Otherwise it returns the beginning of s,
// cut between characters, and how many bytes are left out.
func Text(s string, most int) string {
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > max(0, most-utf8.UTFMax) && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:cut], len(s)-cut)
}

// Printable replaces in s what could confuse a terminal, a page or a line: what is not
// printable.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Attr limits the length of each attribute in a log line. It is a ReplaceAttr of
// [slog.HandlerOptions].
func Attr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		if len(v.String()) > Value {
			a.Value = slog.StringValue(Text(v.String(), Value))
		}
	case slog.KindAny:
		switch v := v.Any().(type) {
		case error:
			a.Value = slog.StringValue(Text(v.Error(), Value))
		case fmt.Stringer:
			a.Value = slog.StringValue(Text(v.String(), Value))
		default:
			if s := fmt.Sprint(v); len(s) > Value {
				a.Value = slog.StringValue(Text(s, Value))
			}
		}
	}
	return a
}
