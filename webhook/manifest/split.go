// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// document is one document of a stream, as written. The parts of all documents, one
// after the other, are the stream.
type document struct {
	head    []byte // before the body: separator, directives, byte order mark
	body    []byte
	tail    []byte // end marker
	line    int    // number of the body's first line in the stream, from 1
	json    bool
	problem string // why kubectl would not read it as written; empty if it would
}

// hasContent reports whether the body has more than blank lines and comments.
func (d *document) hasContent() bool {
	for line := range bytes.Lines(d.body) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return d.problem != ""
}

// byteOrderMark may be at the beginning of a stream.
const byteOrderMark = "\ufeff"

// split returns the documents of a stream.
func split(stream []byte) []document {
	var all []document
	for _, d := range splitYAML(stream) {
		all = append(all, splitJSON(d)...)
	}
	return all
}

// splitYAML splits at YAML's markers. A line that begins with a marker is always one,
// even in a quoted text.
func splitYAML(stream []byte) []document {
	s := splitter{stream: stream, document: document{line: 1}}
	if bytes.HasPrefix(stream, []byte(byteOrderMark)) {
		s.end = len(byteOrderMark)
		s.body = s.end
	}
	number := 0
	for line := range bytes.Lines(stream[s.end:]) {
		number++
		s.next(line, number)
	}
	s.finish(0)
	return s.all
}

// splitter holds the document that is being read, and all before it.
type splitter struct {
	all                 []document
	stream              []byte
	begin, body, end    int  // offsets in stream, of the document
	marked              bool // the document has its separator
	content, directives bool
	document
}

func (s *splitter) next(line []byte, number int) {
	rest, isStart := marker(line, "---")
	_, isEnd := marker(line, "...")
	switch {
	case isStart:
		if !s.directives && s.end > s.begin {
			s.finish(number)
		}
		s.end += len(line)
		s.body, s.line = s.end, number+1
		s.marked, s.directives, s.content = true, false, false
		if len(rest) > 0 && rest[0] != '#' {
			s.problem = "has something behind its separator ---: write it on a line of its own"
		}
		return
	case isEnd:
		s.tail = line
		s.finish(number + 1)
		return
	}
	text := bytes.TrimSpace(line)
	switch {
	case bytes.HasPrefix(line, []byte("---")):
		s.problem = "has a line that begins with --- and goes on without a space: indent it, since kubectl takes it for a separator"
	case line[0] == '%' && !s.marked && !s.content:
		s.directives = true
	case len(text) > 0 && text[0] != '#':
		s.content = true
	}
	s.end += len(line)
}

// finish ends the document, and begins another one in the line with this number.
func (s *splitter) finish(number int) {
	d := s.document
	d.head, d.body = s.stream[s.begin:s.body], s.stream[s.body:s.end]
	s.all = append(s.all, d)
	at := s.end + len(d.tail)
	*s = splitter{all: s.all, stream: s.stream, begin: at, body: at, end: at, document: document{line: number}}
}

// marker reports whether line is a marker, and returns what follows it.
func marker(line []byte, text string) (rest []byte, ok bool) {
	rest, ok = bytes.CutPrefix(line, []byte(text))
	if !ok || len(rest) > 0 && !bytes.ContainsRune([]byte(" \t\r\n"), rune(rest[0])) {
		return nil, false
	}
	return bytes.TrimSpace(rest), true
}

// splitJSON splits a document that is a stream of JSON objects, which need no
// separator.
func splitJSON(d document) []document {
	start := bytes.TrimLeft(d.body, " \t\r\n")
	if d.problem != "" || len(start) == 0 || start[0] != '{' {
		return []document{d}
	}
	var all []document
	decoder := json.NewDecoder(bytes.NewReader(d.body))
	from := 0
	for {
		var object json.RawMessage
		if err := decoder.Decode(&object); errors.Is(err, io.EOF) {
			break
		} else if err != nil || object[0] != '{' {
			return []document{d} // YAML in braces, perhaps
		}
		to := int(decoder.InputOffset())
		begin := to - len(object)
		all = append(all, document{
			head: d.body[from:begin], body: d.body[begin:to], json: true,
			line: d.line + bytes.Count(d.body[:begin], []byte("\n")),
		})
		from = to
	}
	first, last := &all[0], &all[len(all)-1]
	first.head = slices.Concat(d.head, first.head)
	last.tail = slices.Concat(d.body[from:], d.tail)
	return all
}
