// SPDX-License-Identifier: Apache-2.0

package clip

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		most       int
		want       string
	}{
		{"empty", "", 0, ""},
		{"nothing fits", "abc", 0, "… (3 bytes more)"},
		{"one too many", "abcd", 3, "abc… (1 bytes more)"},
		{"as many as fit", "abc", 3, "abc"},
		{"between characters", "äöü", 3, "ä… (4 bytes more)"},
		{"not UTF-8", strings.Repeat("\x80", 9), 6, "\x80\x80… (7 bytes more)"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Text(tc.text, tc.most); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestPrintable: letters of any language stay. Control characters, and characters that change
// the direction or are not seen, do not.
func TestPrintable(t *testing.T) {
	if got, want := Printable("a\x1b[2J\r\nжä \u202e\u200b\xff"), "a?[2J??жä ??\ufffd"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// stringer is a fmt.Stringer.
type stringer string

func (s stringer) String() string { return string(s) }

// TestAttr: each part of a log line is limited, and short parts are unchanged.
func TestAttr(t *testing.T) {
	long := strings.Repeat("ж", 50_000)
	options := &slog.HandlerOptions{ReplaceAttr: Attr}
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, options) },
		"json": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, options) },
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			log := slog.New(handler(&out))
			log.With("with", long).Info(long, "string", long, "error", errors.New(long), "stringer", stringer(long),
				slog.Group("group", "inside", errors.New(long)), "list", strings.Split(long, ""), "short", 5, "text", "as it was", "nothing", nil)
			line := out.String()
			if n := len(line); n > 8*Value || n < 6*Value {
				t.Errorf("the line has %d bytes, want seven parts of %d", n, Value)
			}
			if !utf8.ValidString(line) || !strings.Contains(line, "bytes more") || !strings.Contains(line, "as it was") {
				t.Errorf("the line is %.300q", line)
			}
		})
	}
}
