// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shoot-proxy/proxy-client/internal/clip"
)

const (
	// width is how many columns a line has at most, if its words allow it.
	width = 80
	// found is the column in which what was found begins: behind the result and the step.
	resultColumn, stepColumn = 8, 14
	foundColumn              = resultColumn + stepColumn
)

// WriteText writes the report for people. Its last line is the verdict, which is one
// line however long it is.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	title := fmt.Sprintf("proxy-client check %s at %s, with %s", r.Version, r.Checked.UTC().Format(time.RFC3339), r.Configuration)
	b.WriteString(wrap(title, "", width) + "\n\n")
	for _, s := range r.Steps {
		b.WriteString(s.text())
	}
	b.WriteString("\n" + clip.Printable(r.Verdict) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// text returns the lines of a step.
func (s Step) text() string {
	indent := strings.Repeat(" ", foundColumn)
	found := s.Found
	if subject := s.subject(); subject != "" {
		found = subject + ": " + found
	}
	lines := wrap(found, indent, width)
	lines = fmt.Sprintf("%-*s%-*s", resultColumn, s.Result, stepColumn, s.Name) + lines[foundColumn:] + "\n"
	if s.Next != "" {
		lines += wrap("Next: "+s.Next, indent, width) + "\n"
	}
	if s.Command != "" {
		lines += indent + clip.Printable(s.Command) + "\n" // in one line, to be copied
	}
	return lines
}

// wrap returns text in lines of at most columns, each behind indent. A longer word gets a
// line of its own.
func wrap(text, indent string, columns int) string {
	var b strings.Builder
	used := 0
	for word := range strings.FieldsSeq(clip.Printable(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case used == 0:
			b.WriteString(indent + word)
			used = len(indent) + n
		case used+1+n > columns:
			b.WriteString("\n" + indent + word)
			used = len(indent) + n
		default:
			b.WriteString(" " + word)
			used += 1 + n
		}
	}
	return b.String()
}

// Seconds returns a duration for people, with two or three digits.
func Seconds(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}
