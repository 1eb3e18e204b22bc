// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"strings"
	"time"
	"unicode"
)

// OneLine returns a text without its line breaks.
func OneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// printable replaces what could change a terminal. Line ends stay.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// Plural returns a noun for n things.
func Plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

// Listed joins names. If there are many, it counts the others.
func Listed(names []string) string {
	shown := strings.Join(names[:min(len(names), MaxObjects)], ", ")
	if more := len(names) - MaxObjects; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	return shown
}

// Sentence returns text with a capital letter and a full stop.
func Sentence(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	return strings.TrimSuffix(text, ".") + "."
}

// NeededBy returns a clause with the objects that need something. If there are many, it
// counts the others.
func NeededBy(objects []string) string {
	if n := len(objects) - 2; n > 1 {
		return fmt.Sprintf("%s, %s and %d more", objects[0], objects[1], n)
	}
	return strings.Join(objects, ", ")
}

// Day returns a date.
func Day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// Days returns a time span in whole days.
func Days(d time.Duration) string {
	n := int(d / (24 * time.Hour))
	return fmt.Sprintf("%d %s", n, Plural(n, "day"))
}
