// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// flow is the style of a list or mapping in brackets.
type flow struct {
	quoted       bool // texts are quoted as in JSON
	colon, comma string
	lines        bool   // each entry has its own line
	indent       string // of those lines
	step         string // additional indent of nested lines
	newline      string
	scalars      scalars
}

// flowOf returns the style of a node in brackets. What the node does not show comes
// from in, the style of its parent, which may be nil.
func (e *editor) flowOf(n *yaml.Node, in *flow) *flow {
	f := flow{colon: ": ", comma: ", ", step: "  ", quoted: n.Line == 0, newline: e.newline, scalars: e.scalars}
	if in != nil {
		f = *in
		f.lines = false
	}
	if key, value := firstPair(n); key != nil && isFlow(n) {
		f.quoted = key.Style&yaml.DoubleQuotedStyle != 0
		if f.colon, f.comma = ": ", ", "; e.start(value) == e.end(key)+len(":") {
			f.colon, f.comma = ":", ","
		}
	}
	if !isFlow(n) || len(n.Content) == 0 {
		return &f
	}
	open, first := e.content(n), e.start(n.Content[0])
	f.indent = e.indentOf(first)
	if f.lines = !e.oneLine(open, first) && e.lineStart(first)+len(f.indent) == first; f.lines {
		if step, deeper := strings.CutPrefix(f.indent, e.indentOf(open)); deeper && step != "" {
			f.step = step
		}
	}
	return &f
}

// firstPair returns the first key and its value in a part of a document.
func firstPair(n *yaml.Node) (key, value *yaml.Node) {
	if n.Kind == yaml.MappingNode && len(n.Content) > 1 {
		return n.Content[0], n.Content[1]
	}
	for _, child := range n.Content {
		if key, value = firstPair(child); key != nil {
			return key, value
		}
	}
	return nil, nil
}

// indentOf returns the blanks at the beginning of an offset's line.
func (e *editor) indentOf(at int) string {
	start := e.lineStart(at)
	return string(e.bytes[start:min(at, e.skipBlanks(start))])
}

// key returns the text of a key with its colon.
func (f *flow) key(name string) string { return f.scalar(name) + f.colon }

// value returns the text of a value.
func (f *flow) value(value any) string { return f.text(Plain(value), f.indent) }

func (f *flow) text(value any, indent string) string {
	inner := indent + f.step
	open, closing := "[", "]"
	var entries []string
	switch v := value.(type) {
	case map[string]any:
		open, closing = "{", "}"
		for _, key := range sortedKeys(v) {
			entries = append(entries, f.key(key)+f.text(v[key], inner))
		}
	case []any:
		for _, element := range v {
			entries = append(entries, f.text(element, inner))
		}
	default:
		return f.scalar(value)
	}
	if !f.lines || len(entries) == 0 {
		return open + strings.Join(entries, f.comma) + closing
	}
	begin := f.newline + inner
	return open + begin + strings.Join(entries, ","+begin) + f.newline + indent + closing
}

// scalar returns the text of a string, a number, true, false or null.
func (f *flow) scalar(value any) string {
	if f.quoted {
		return jsonText(value)
	}
	return f.scalars.flowText(value)
}

// insertIntoFlow inserts an entry before another one, or after the last one that stays.
func (e *editor) insertIntoFlow(s *siblings, before int, text string) {
	separator := s.flow.comma
	if s.flow.lines {
		separator = "," + e.newline + s.flow.indent
	}
	if before < len(s.entries) {
		e.splices.insert(s.entries[before].start, text+separator)
		return
	}
	last := len(s.removed) - 1
	for s.removed[last] {
		last--
	}
	e.splices.insert(s.entries[last].end, separator+text)
}

// removeFromFlow removes the marked entries. With each run of entries it removes the
// commas that are no longer needed.
func (e *editor) removeFromFlow(s *siblings) {
	for i := 0; i < len(s.removed); i++ {
		if !s.removed[i] {
			continue
		}
		from := i
		for i < len(s.removed) && s.removed[i] {
			i++
		}
		if i < len(s.removed) {
			e.remove(s.entries[from].start, s.entries[i].start)
		} else {
			e.remove(s.entries[from-1].end, s.entries[i-1].end)
		}
	}
}
