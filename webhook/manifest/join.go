// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"fmt"

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
				Result: webhook.Refused(webhook.ReasonBadRequest, "the file ends within a text, which a line break before the next file would change: end its last line"),
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
type joined struct{ stream []byte }

// add appends a stream, behind a separator if there has to be one. ok is false if the
// stream before cannot be ended without changing what it says.
func (j *joined) add(stream []byte) (ok bool) {
	if len(j.stream) == 0 {
		j.stream = stream
		return true
	}
	// It may begin a stream, and nothing else.
	stream = bytes.TrimPrefix(stream, []byte(byteOrderMark))
	separator := separatorFor(stream)
	if separator == nil {
		j.stream = append(j.stream, stream...)
		return true
	}
	if !bytes.HasSuffix(j.stream, []byte("\n")) {
		if !endsAnywhere(j.stream) {
			return false
		}
		j.stream = append(j.stream, '\n')
	}
	j.stream = append(append(j.stream, separator...), stream...)
	return true
}

// separatorFor returns what has to be between a stream and what comes before: nothing
// if it has its own, or no document.
func separatorFor(stream []byte) []byte {
	for line := range bytes.Lines(stream) {
		text := bytes.TrimSpace(line)
		_, marked := marker(line, "---")
		switch {
		case len(text) == 0 || text[0] == '#':
			continue
		case marked:
			return []byte{}
		case line[0] == '%': // a directive has to follow the end of a document
			return []byte("...\n")
		default:
			return []byte("---\n")
		}
	}
	return nil
}

// endsAnywhere reports whether the last document of a stream without a line break at
// its end says the same with one. A block scalar does not.
func endsAnywhere(stream []byte) bool {
	documents := split(stream)
	last := documents[len(documents)-1]
	if last.json {
		return true
	}
	before, problem := last.parse()
	last.body = append(append([]byte{}, last.body...), '\n')
	after, problemAfter := last.parse()
	if problem != "" || problemAfter != "" {
		return !last.hasContent() // a comment
	}
	return fmt.Sprint(before.value) == fmt.Sprint(after.value)
}
