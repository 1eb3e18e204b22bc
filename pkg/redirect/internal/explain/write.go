// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"io"
	"strings"
	"unicode"
)

// WriteText writes the explanation for people: what is wrong first, or one sentence if all
// is right.
func (e *Explanation) WriteText(w io.Writer) error {
	var text strings.Builder
	if e.Summary != "" {
		text.WriteString(e.Summary + "\n")
	}
	for i, p := range e.Problems {
		wrong := "WRONG"
		if !p.Certain {
			wrong = "MAYBE WRONG"
		}
		fmt.Fprintf(&text, "%s: %s.\n", wrong, p.Text)
		if p.Owner != "" && p.Owner != OwnerOurs {
			fmt.Fprintf(&text, "  whose rule: likely %s\n", p.Owner)
		}
		if i+1 < len(e.Problems) && e.Problems[i+1].Next == p.Next {
			continue // one cure for both, which stands below the last one
		}
		fmt.Fprintf(&text, "  what to do: %s\n", p.Next)
	}
	for _, n := range e.Notes {
		fmt.Fprintf(&text, "NOT READ: %s\n", n)
	}
	chain, owner := "", ""
	for _, r := range e.Rules {
		if r.Owner != owner && (owner == "" || r.Owner == OwnerOurs || owner == OwnerOurs) {
			heading := "RULES OF OTHER PROGRAMS"
			if r.Owner == OwnerOurs {
				heading = "OUR RULES"
			}
			text.WriteString("\n" + heading + "\n")
		}
		if r.Chain != chain || r.Owner != owner {
			chain, owner = r.Chain, r.Owner
			text.WriteString("\n" + r.Chain)
			if r.Owner != OwnerOurs {
				text.WriteString(" — likely of " + r.Owner)
			}
			text.WriteString("\n")
		}
		r.write(&text)
	}
	_, err := io.WriteString(w, printable(text.String()))
	return err
}

// printable replaces what could change a terminal: comments in rules are words of any
// program.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
}

// write writes one rule.
func (r Rule) write(text *strings.Builder) {
	if r.Number == 0 {
		fmt.Fprintf(text, "  %s\n", r.Meaning)
		return
	}
	fmt.Fprintf(text, "  %d. %s\n", r.Number, r.Rule)
	fmt.Fprintf(text, "     %s", r.Meaning)
	if r.Packets != nil {
		fmt.Fprintf(text, " (%d packets)", *r.Packets)
	}
	text.WriteString("\n")
	if r.Effect != "" {
		fmt.Fprintf(text, "     %s\n", r.Effect)
	}
}

// WriteText writes the path for people: what becomes of the connection first, and then
// each rule that it meets.
func (p *Path) WriteText(w io.Writer) error {
	var text strings.Builder
	text.WriteString(p.Connection + "\n")
	for _, n := range p.Notes {
		fmt.Fprintf(&text, "NOT READ: %s\n", n)
	}
	if len(p.Outcomes) > 1 {
		text.WriteString("What becomes of it depends on what cannot be told from here:\n")
	}
	for i, o := range p.Outcomes {
		if len(p.Outcomes) > 1 {
			fmt.Fprintf(&text, "\n%d. If %s:\n", i+1, strings.Join(o.Assumptions, ", and if "))
		}
		fmt.Fprintf(&text, "It %s.\n", sentence(o))
		if o.Next != "" {
			fmt.Fprintf(&text, "What to do: %s\n", o.Next)
		}
		o.writeSteps(&text)
	}
	_, err := io.WriteString(w, printable(text.String()))
	return err
}

// sentence returns the verdict as it follows "It".
func sentence(o Outcome) string {
	for _, verb := range []string{"leaves ", "stays "} {
		if strings.HasPrefix(o.Verdict, verb) {
			return o.Verdict
		}
	}
	return "is " + o.Verdict
}

// writeSteps writes the rules on the way.
func (o Outcome) writeSteps(text *strings.Builder) {
	text.WriteString("\nOn its way:\n")
	hook, chain := "", ""
	for _, s := range o.Steps {
		if s.Hook != hook {
			hook, chain = s.Hook, ""
			fmt.Fprintf(text, "hook %s\n", hook)
		}
		if s.Rule == "" {
			fmt.Fprintf(text, "  %s\n", s.Text)
			chain = ""
			continue
		}
		if s.Chain != chain {
			chain = s.Chain
			fmt.Fprintf(text, "  %s%s\n", chain, ownedBy(s.Owner))
		}
		matches := "no "
		if s.Matches {
			matches = "yes"
		}
		fmt.Fprintf(text, "    %s %d. %s\n", matches, s.Number, s.Rule)
		if s.Text != "" {
			fmt.Fprintf(text, "           %s\n", s.Text)
		}
	}
}

func ownedBy(owner string) string {
	if owner == OwnerOurs || owner == ownerUnknown || owner == "" {
		return ""
	}
	return " (likely of " + owner + ")"
}
