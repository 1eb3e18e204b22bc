// SPDX-License-Identifier: Apache-2.0

// Package clip bounds texts of which a peer has written a part, where they become
// part of a log, an error or an answer: a certificate with 90 names is 57 KB of
// them. It neither quotes nor judges what they say.
//
//	return fmt.Errorf("the server says: %s", clip.Text(message, clip.Sentence))
package clip

import (
	"fmt"
	"log/slog"
	"unicode/utf8"
)

// Bounds in bytes.
const (
	Words    = 80      // what a library says, where a sentence of ours goes on behind it
	Clause   = 320     // what is told of one of several
	Sentence = 1 << 10 // a text that is part of another
	Value    = 2 << 10 // a value in a log line, and an answer for people
)

// Text returns s if it has at most so many bytes. Otherwise Text returns its
// beginning, cut between characters, and how much is left out.
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

// Attr bounds what one attribute adds to a log line. It is a ReplaceAttr of
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
