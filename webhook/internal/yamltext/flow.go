// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// flow is how a list or mapping in brackets is written.
type flow struct {
	quoted       bool // texts are JSON's
	colon, comma string
	lines        bool   // each entry has its own
	indent       string // of those lines
	step         string // more of it for what is within
	newline      string
	scalars      scalars
}

// flowOf returns the style of a node; where it tells nothing, that of what it is in, nil
// for none.
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

// firstPair returns the first key with its value in a part of a document.
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

// indentOf returns the blanks that the line of an offset begins with.
func (e *editor) indentOf(at int) string {
	start := e.lineStart(at)
	return string(e.bytes[start:min(at, e.skipBlanks(start))])
}

// key writes a key with its colon.
func (f *flow) key(name string) string { return f.scalar(name) + f.colon }

// value writes a value.
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

// scalar writes a text, a number, true, false or null.
func (f *flow) scalar(value any) string {
	if f.quoted {
		return jsonText(value)
	}
	return f.scalars.flowText(value)
}

// insertIntoFlow puts an entry before another, or behind the last that stays.
func (e *editor) insertIntoFlow(s *siblings, before int, text string) {
	separator := s.flow.comma
	if s.flow.lines {
		separator = "," + e.newline + s.flow.indent
	}
	if before < len(s.entries) {
		e.splices.insert(s.entries[before].start, text+separator)
		return
	}
	last := len(s.gone) - 1
	for s.gone[last] {
		last--
	}
	e.splices.insert(s.entries[last].end, separator+text)
}

// removeFromFlow takes out what is gone, each run of entries with the commas that it
// does not need any more.
func (e *editor) removeFromFlow(s *siblings) {
	for i := 0; i < len(s.gone); i++ {
		if !s.gone[i] {
			continue
		}
		from := i
		for i < len(s.gone) && s.gone[i] {
			i++
		}
		if i < len(s.gone) {
			e.remove(s.entries[from].start, s.entries[i].start)
		} else {
			e.remove(s.entries[from-1].end, s.entries[i-1].end)
		}
	}
}
