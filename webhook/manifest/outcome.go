// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// Outcome is the outcome of an object, or of a document that cannot be read.
type Outcome struct {
	// File is the name of the file; empty if there is only one.
	File string
	// Document is the document's number, from 1, without empty documents.
	Document int
	// Item is the number in a list, from 1; 0 if the document is the object.
	Item int
	// Kind, Namespace and Name are as the object gives them; empty if it does not.
	Kind, Namespace, Name string
	webhook.Result
	// More are further reasons of a refusal.
	More []string
	// Notes are of interest, but are not warnings.
	Notes []string

	done string // the word for a changed object
}

func outcomeOf(o object, result webhook.Result) Outcome {
	return Outcome{Item: o.item, Kind: o.kind, Namespace: o.namespace, Name: o.name, Result: result}
}

// These find the kind and the name in a document that does not parse.
var (
	kindLine = regexp.MustCompile(`(?m)^kind: *["']?([A-Za-z]+)`)
	nameLine = regexp.MustCompile(`(?m)^metadata:(?: *#.*)?\r?\n(?: +.*\n)*? +name: *["']?([a-z0-9.-]+)`)
)

func (d *document) unreadable(problem string) Outcome {
	o := Outcome{Result: webhook.Refused(webhook.ReasonBadRequest, "the document "+problem)}
	begin := d.body[:min(len(d.body), 1<<12)]
	if m := kindLine.FindSubmatch(begin); m != nil {
		o.Kind = string(m[1])
	}
	if m := nameLine.FindSubmatch(begin); m != nil {
		o.Name = string(m[1])
	}
	return o
}

// subject returns which object it is: "document 2: Deployment shop/prometheus".
func (o Outcome) subject() string {
	text := ""
	if o.File != "" {
		text = printable(o.File) + ": "
	}
	if o.Document == 0 {
		return strings.TrimSuffix(text, ": ")
	}
	text += fmt.Sprintf("document %d", o.Document)
	if o.Item > 0 {
		text += fmt.Sprintf(", item %d", o.Item)
	}
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + cmp.Or(name, "?")
	}
	if what := strings.TrimSpace(o.Kind + " " + name); what != "" {
		text += ": " + printable(what)
	}
	return text
}

// String returns a line for people:
//
//	document 2: Deployment shop/prometheus: injected: added init-redirect, and proxy-client as native sidecar
func (o Outcome) String() string {
	word := map[webhook.Decision]string{webhook.Inject: o.done, webhook.Skip: "skipped", webhook.Refuse: "refused"}[o.Decision]
	return fmt.Sprintf("%s: %s: %s", o.subject(), word, o.sentence())
}

// sentence returns the result's text. It may hold anything from the files, because the
// reader has the files too.
func (o Outcome) sentence() string { return printable(cmp.Or(o.Detail, o.Message)) }

// Report writes a line for each outcome, and one for each warning and each note.
func (r *Result) Report(w io.Writer) error {
	var out bytes.Buffer
	for _, o := range r.Outcomes {
		fmt.Fprintln(&out, o)
		for _, reason := range o.More {
			fmt.Fprintf(&out, "%s: refused: %s\n", o.subject(), printable(reason))
		}
		for _, warning := range o.Warnings {
			fmt.Fprintf(&out, "%s: warning: %s\n", o.subject(), printable(warning))
		}
		for _, note := range o.Notes {
			fmt.Fprintf(&out, "%s: note: %s\n", o.subject(), printable(note))
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// Explain writes, for each object, the decision with its reason, the values with their
// sources, the warnings and the notes.
func (r *Result) Explain(w io.Writer) error {
	var out bytes.Buffer
	for i, o := range r.Outcomes {
		if i > 0 {
			fmt.Fprintln(&out)
		}
		fmt.Fprintf(&out, "%s: %s: %s\n", o.subject(), o.Decision, o.sentence())
		for _, reason := range o.More {
			fmt.Fprintf(&out, "  refuse: %s\n", printable(reason))
		}
		if len(o.Values) > 0 {
			table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
			fmt.Fprint(table, "  FIELD\tVALUE\tSOURCE\n")
			for _, v := range o.Values {
				fmt.Fprintf(table, "  %s\t%s\t%s\n", v.Name, printable(v.Value), printable(v.Source))
			}
			table.Flush() // cannot fail: it writes to memory
		}
		for _, warning := range o.Warnings {
			fmt.Fprintf(&out, "  warning: %s\n", printable(warning))
		}
		for _, note := range o.Notes {
			fmt.Fprintf(&out, "  note: %s\n", printable(note))
		}
	}
	_, err := w.Write(out.Bytes())
	return err
}

// printable replaces control characters, so that a manifest cannot add lines or control
// the terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, text)
}
