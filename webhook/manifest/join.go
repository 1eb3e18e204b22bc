// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"reflect"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// File is one of several streams of documents that belong together.
type File struct {
	// Name is the file's name in outcomes; empty if there is only one file.
	Name string
	Text []byte
}

// InjectFiles injects into every pod and pod template of some files.
func InjectFiles(files []File, o Options) *Result {
	return join(files, func(stream []byte) *Result { return Inject(stream, o) })
}

// UninjectFiles removes what was injected from some files.
func UninjectFiles(files []File) *Result { return join(files, Uninject) }

// join joins the output of several files to one stream. If something is refused in one
// file, there is no output.
func join(files []File, process func([]byte) *Result) *Result {
	all := &Result{}
	var out joined
	before := "" // the name of the last file in the stream so far
	for _, f := range files {
		r := process(f.Text)
		for i := range r.Outcomes {
			r.Outcomes[i].File = f.Name
		}
		all.Outcomes = append(all.Outcomes, r.Outcomes...)
		if !out.add(r.Output) {
			all.Outcomes = append(all.Outcomes, Outcome{
				File:   before,
				Result: webhook.Refused(webhook.ReasonBadRequest, "the file has no line break at its end, and one would change what it says: write it there"),
			})
		}
		if len(r.Output) > 0 {
			before = f.Name
		}
	}
	if all.Refused() == 0 {
		all.Output = append([]byte{}, out.stream...) // empty is not nil
	}
	return all
}

// joined is a stream made of several.
type joined struct {
	stream []byte
	last   int // offset of the last stream
}

// add appends a stream, after a separator if one is needed. ok is false if the previous
// stream cannot be ended without changing its meaning.
func (j *joined) add(stream []byte) (ok bool) {
	if len(j.stream) == 0 || len(stream) == 0 {
		j.stream = append(j.stream, stream...)
		return true
	}
	// A byte order mark may only be at the beginning of a stream.
	stream = bytes.TrimPrefix(stream, []byte(byteOrderMark))
	before, ok := withFinalLineBreak(j.stream[j.last:])
	j.stream = append(append(j.stream[:j.last], before...), separatorFor(stream)...)
	j.last = len(j.stream)
	j.stream = append(j.stream, stream...)
	return ok
}

// separatorFor returns the separator needed before a stream. It is empty if the stream
// begins with one. After JSON even a comment needs a separator.
func separatorFor(stream []byte) []byte {
	first := true
	for line := range bytes.Lines(stream) {
		if _, marked := marker(line, "---"); marked && first {
			return nil
		}
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			if line[0] == '%' { // a directive must follow the end of a document
				return []byte("...\n")
			}
			break
		}
		first = false
	}
	return []byte("---\n")
}

// withFinalLineBreak returns a stream with a line break at its end and the same
// meaning. A block scalar would include the line break, so it gets a strip indicator.
// ok is false if the meaning changes for another reason.
func withFinalLineBreak(stream []byte) (_ []byte, ok bool) {
	if bytes.HasSuffix(stream, []byte("\n")) {
		return stream, true
	}
	documents := split(stream)
	last := documents[len(documents)-1]
	longer := slices.Concat(stream, []byte("\n"))
	before, problem := last.parse()
	if last.json || problem != "" {
		return longer, true // a comment, or something that is refused anyway
	}
	if last.body = slices.Concat(last.body, []byte("\n")); last.sameAs(before) {
		return longer, true
	}
	start := len(stream) + 1 - len(last.body)
	last.body = withStripIndicator(last.body, before.node)
	return slices.Concat(stream[:start], last.body), last.sameAs(before)
}

// sameAs reports whether two documents have the same meaning in YAML.
func (d *document) sameAs(other *tree) bool {
	t, problem := d.parse()
	return problem == "" && reflect.DeepEqual(t.value, other.value)
}

// blockHeader matches the header of a block scalar, with its indicators (YAML 1.2,
// 8.1.1).
var blockHeader = regexp.MustCompile(`[|>]([1-9]?)[+-]?([1-9]?)[ \t]*(#.*)?\r?$`)

// withStripIndicator returns a document's body whose last block scalar has the strip
// indicator, so that it does not include the final line break.
func withStripIndicator(body []byte, n *yaml.Node) []byte {
	for len(n.Content) > 0 {
		n = n.Content[len(n.Content)-1]
	}
	lines := bytes.SplitAfter(body, []byte("\n"))
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) == 0 || n.Line < 1 || n.Line > len(lines) {
		return body
	}
	header := lines[n.Line-1]
	text := bytes.TrimSuffix(header, []byte("\n"))
	at := blockHeader.FindSubmatchIndex(text)
	if at == nil {
		return body
	}
	indent := slices.Concat(text[at[2]:at[3]], text[at[4]:at[5]])
	lines[n.Line-1] = slices.Concat(text[:at[0]+1], indent, []byte("-"), header[at[5]:])
	return bytes.Join(lines, nil)
}
