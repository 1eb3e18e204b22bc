// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// siblings are the entries of a list or mapping, some of which go.
type siblings struct {
	at      place
	of      *yaml.Node
	flow    *flow // nil in block style
	entries []entry
	gone    []bool
}

// placeFor returns the index of the entry before which a new key belongs.
func (e *editor) placeFor(s *siblings, name string) int {
	for i := range s.entries {
		if next, ok := s.entries[i].name(); ok && !s.gone[i] && next != "" && next == e.before[name] {
			return i
		}
	}
	return len(s.entries)
}

// isBlock reports whether the entries have lines of their own.
func (s *siblings) isBlock() bool { return !isFlow(s.of) }

// isNew reports whether nothing stays into whose text the rest could be put: every entry
// goes, and the first has its line from what it belongs to ("- name: app").
func (s *siblings) isNew(e *editor) bool {
	return !slices.Contains(s.gone, false) && (!s.isBlock() || !e.beginsLine(s.entries[0].start))
}

// removeFrom takes out what is gone.
func (e *editor) removeFrom(s *siblings) {
	if !s.isBlock() {
		e.removeFromFlow(s)
		return
	}
	first := s.inFirstLine(e)
	if first > 0 {
		e.remove(s.entries[0].start, s.entries[first].start)
	}
	for i := max(first, 0); i < len(s.gone); i++ {
		if s.gone[i] {
			e.removeLines(&s.entries[i])
		}
	}
}

// inFirstLine returns the index of the entry that is, at the end, in the line of what
// all belong to ("- name: app"); -1 where they have lines of their own.
func (s *siblings) inFirstLine(e *editor) int {
	if e.beginsLine(s.entries[0].start) {
		return -1
	}
	return slices.Index(s.gone, false)
}

// removeLines takes out an entry with its lines, and the break before them: the text
// may end without one.
func (e *editor) removeLines(old *entry) {
	start, end := e.lineStart(old.start), e.below(old)
	if start == 0 {
		e.remove(0, end+e.breakAt(end))
		return
	}
	e.remove(e.lineBefore(start), end)
}

// insert puts a key and its value before an entry, or behind the last.
func (e *editor) insert(s *siblings, before int, name string, value any) {
	if !s.isBlock() {
		e.insertIntoFlow(s, before, s.flow.key(name)+s.flow.value(value))
		return
	}
	e.insertLines(s, before, e.linesOf(s.of, map[string]any{name: value}))
}

// insertElement puts an element of a list before another, or behind the last. What was
// elsewhere in the list keeps its text, but for a block scalar, which could take what it
// comes to stand above for more of itself.
func (e *editor) insertElement(s *siblings, before int, have []any, value any) {
	var moved *entry
	for i := range s.entries {
		if s.gone[i] && reflect.DeepEqual(have[i], value) && !s.entries[i].endsInBlockScalar() {
			moved = &s.entries[i]
		}
	}
	switch {
	case !s.isBlock() && moved != nil:
		e.insertIntoFlow(s, before, string(e.bytes[moved.start:moved.end]))
	case !s.isBlock():
		e.insertIntoFlow(s, before, s.flow.value(value))
	case moved != nil:
		e.insertLines(s, before, []string{string(e.bytes[moved.start:e.lineEnd(moved.end)])})
	default:
		e.insertLines(s, before, e.element(s.of, &s.entries[0], value))
	}
}

// element writes an element with its dash, as far from it as that of a sibling.
func (e *editor) element(list *yaml.Node, sibling *entry, value any) []string {
	dash := "- "
	if width := e.start(sibling.value) - sibling.start; width > 1 && width <= maxIndent && e.oneLine(sibling.start, sibling.start+width) {
		dash = "-" + strings.Repeat(" ", width-1)
	}
	return hang(dash, e.linesOf(list, value))
}

// linesOf writes a value in the style of what is around it.
func (e *editor) linesOf(near *yaml.Node, value any) []string {
	if e.style == nil {
		whole := style{mapping: 2, scalars: e.scalars}.of(e.root)
		e.style = &whole
	}
	return e.style.of(near).linesOf(Plain(value))
}

// insertLines puts lines before an entry of a block, or behind the last.
func (e *editor) insertLines(s *siblings, before int, lines []string) {
	last := &s.entries[len(s.entries)-1]
	if before == len(s.entries) && last.key != nil && last.endsInBlockScalar() && e.lineEnd(last.end) == len(e.bytes) {
		before-- // without a line break at its end the scalar would get one
	}
	indent := e.column(s.entries[0].start)
	if before == len(s.entries) {
		e.insertBelow(e.below(last), indent, lines)
		return
	}
	next := &s.entries[before]
	floor := s.at.entry.behind
	if before > 0 {
		floor = s.entries[before-1].end
	}
	if above := e.above(next, floor); above >= 0 && before != s.inFirstLine(e) {
		e.insertBelow(above, indent, lines)
		return
	}
	separator := e.newline + strings.Repeat(" ", indent)
	e.splices.insert(next.start, strings.Join(lines, separator)+separator)
}

// insertBelow puts indented lines below the line that ends at an offset.
func (e *editor) insertBelow(lineEnd, indent int, lines []string) {
	var out strings.Builder
	for _, line := range lines {
		out.WriteString(e.newline)
		if line != "" {
			out.WriteString(strings.Repeat(" ", indent))
		}
		out.WriteString(line)
	}
	e.splices.insert(lineEnd, out.String())
}
