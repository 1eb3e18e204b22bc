// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"
)

// The layout of a report: lines of at most columns characters, and a margin for the
// status. A command is never broken into lines.
const (
	columns = 80
	margin  = "           "
)

// MaxObjects is how many objects of a finding its text names.
const MaxObjects = 5

// WriteText writes the report for people. The last line is the verdict.
func (r *Report) WriteText(w io.Writer) error {
	var text strings.Builder
	for _, g := range groups() {
		first := true
		for _, f := range r.Findings {
			if f.Group != g {
				continue
			}
			if first {
				fmt.Fprintf(&text, "%s\n", strings.ToUpper(string(g)))
			}
			first = false
			f.write(&text)
		}
		if !first {
			text.WriteString("\n")
		}
	}
	fmt.Fprintf(&text, "%s\n", r.Verdict)
	_, err := io.WriteString(w, printable(text.String()))
	return err
}

func (f *Finding) write(text *strings.Builder) {
	said := f.Message
	if len(f.Objects) > 0 {
		said = f.named() + ": " + said
	}
	wrap(text, fmt.Sprintf("  %-9s", f.word()), said)
	if f.Next != "" {
		wrap(text, margin, "next: "+f.Next)
	}
	for _, command := range f.Commands {
		fmt.Fprintf(text, "%s  $ %s\n", margin, command)
	}
}

// word is the status as the text has it. Only a failure is in capitals.
func (f *Finding) word() string {
	if f.Status == Failure {
		return strings.ToUpper(string(f.Status))
	}
	return string(f.Status)
}

// named returns the objects of a finding. If there are many, it counts the others.
func (f *Finding) named() string {
	if n := len(f.Objects) - MaxObjects; n > 1 {
		return strings.Join(f.Objects[:MaxObjects], ", ") + fmt.Sprintf(" and %d more", n)
	}
	return strings.Join(f.Objects, ", ")
}

// wrap writes words in lines. The first line begins with first, and all others are
// indented as far.
func wrap(text *strings.Builder, first, said string) {
	line := first
	empty := true
	for word := range strings.FieldsSeq(said) {
		if !empty && len([]rune(line))+1+len([]rune(word)) > columns {
			text.WriteString(strings.TrimRight(line, " ") + "\n")
			line, empty = margin, true
		}
		if !empty {
			line += " "
		}
		line += word
		empty = false
	}
	text.WriteString(strings.TrimRight(line, " ") + "\n")
}
