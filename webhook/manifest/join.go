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

// File is one of several streams of documents that go together.
type File struct {
	// Name is what its outcomes call it; empty where there is only one.
	Name string
	Text []byte
}

// InjectFiles injects into every pod and pod template of some files.
func InjectFiles(files []File, o Options) *Result {
	return join(files, func(stream []byte) *Result { return Inject(stream, o) })
}

// UninjectFiles takes out of some files what was injected.
func UninjectFiles(files []File) *Result { return join(files, Uninject) }

// join makes one stream of what becomes of several. Where something is refused in one,
// nothing comes out of any.
func join(files []File, process func([]byte) *Result) *Result {
	all := &Result{}
	var out joined
	before := "" // the file that the stream so far ends with
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
	last   int // where in it the last one begins
}

// add appends a stream, behind a separator if there has to be one. ok is false if the
// one before cannot be ended without changing what it says.
func (j *joined) add(stream []byte) (ok bool) {
	if len(j.stream) == 0 || len(stream) == 0 {
		j.stream = append(j.stream, stream...)
		return true
	}
	// It may begin a stream, and nothing else.
	stream = bytes.TrimPrefix(stream, []byte(byteOrderMark))
	before, ok := ended(j.stream[j.last:])
	j.stream = append(append(j.stream[:j.last], before...), separatorFor(stream)...)
	j.last = len(j.stream)
	j.stream = append(j.stream, stream...)
	return ok
}

// separatorFor returns what has to be between a stream and what comes before: nothing
// if it begins with its own. Even a comment needs one, behind JSON.
func separatorFor(stream []byte) []byte {
	first := true
	for line := range bytes.Lines(stream) {
		if _, marked := marker(line, "---"); marked && first {
			return nil
		}
		if text := bytes.TrimSpace(line); len(text) > 0 && text[0] != '#' {
			if line[0] == '%' { // a directive has to follow the end of a document
				return []byte("...\n")
			}
			break
		}
		first = false
	}
	return []byte("---\n")
}

// ended returns a stream with a line break at its end, which says what it said without.
// A block scalar would get the line break too, unless it says that it has none. ok is
// false if there is another reason why the stream says something else.
func ended(stream []byte) (_ []byte, ok bool) {
	if bytes.HasSuffix(stream, []byte("\n")) {
		return stream, true
	}
	documents := split(stream)
	last := documents[len(documents)-1]
	longer := slices.Concat(stream, []byte("\n"))
	before, problem := last.parse()
	if last.json || problem != "" {
		return longer, true // a comment, or what is refused anyway
	}
	if last.body = slices.Concat(last.body, []byte("\n")); last.says(before) {
		return longer, true
	}
	start := len(stream) + 1 - len(last.body)
	last.body = stripped(last.body, before.node)
	return slices.Concat(stream[:start], last.body), last.says(before)
}

// says reports whether a document is the same to YAML as another.
func (d *document) says(other *tree) bool {
	t, problem := d.parse()
	return problem == "" && reflect.DeepEqual(t.value, other.value)
}

// blockHeader is the begin of a block scalar, with its indicators (YAML 1.2, 8.1.1).
var blockHeader = regexp.MustCompile(`[|>]([1-9]?)[+-]?([1-9]?)[ \t]*(#.*)?\r?$`)

// stripped returns a document's body whose last block scalar says that no line break
// belongs to it.
func stripped(body []byte, n *yaml.Node) []byte {
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
