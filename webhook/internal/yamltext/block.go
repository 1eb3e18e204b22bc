// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// siblings are the entries of a list or mapping, with those to remove.
type siblings struct {
	at      place
	parent  *yaml.Node
	flow    *flow // nil in block style
	entries []entry
	removed []bool
}

// insertionIndex returns the index of the entry before which to insert a new key.
func (e *editor) insertionIndex(s *siblings, name string) int {
	for i := range s.entries {
		if next, ok := s.entries[i].name(); ok && !s.removed[i] && next != "" && next == e.before[name] {
			return i
		}
	}
	return len(s.entries)
}

// isBlock reports whether the entries have their own lines.
func (s *siblings) isBlock() bool { return !isFlow(s.parent) }

// mustReplace reports whether the list or mapping must be replaced as a whole, because no
// entry stays. In block style the first entry must also be in its parent's line
// ("- name: app").
func (s *siblings) mustReplace(e *editor) bool {
	return !slices.Contains(s.removed, false) && (!s.isBlock() || !e.beginsLine(s.entries[0].start))
}

// removeFrom removes the entries that are marked.
func (e *editor) removeFrom(s *siblings) {
	if !s.isBlock() {
		e.removeFromFlow(s)
		return
	}
	first := s.inFirstLine(e)
	if first > 0 {
		e.remove(s.entries[0].start, s.entries[first].start)
	}
	for i := max(first, 0); i < len(s.removed); i++ {
		if s.removed[i] {
			e.removeLines(&s.entries[i])
		}
	}
}

// inFirstLine returns the index of the entry that is finally in the parent's line ("-
// name: app"). It returns -1 if all entries have their own lines.
func (s *siblings) inFirstLine(e *editor) int {
	if e.beginsLine(s.entries[0].start) {
		return -1
	}
	return slices.Index(s.removed, false)
}

// removeLines removes an entry's lines, and the line break before them, because the
// text may end without one.
func (e *editor) removeLines(old *entry) {
	start, end := e.lineStart(old.start), e.endWithComments(old)
	if start == 0 {
		e.remove(0, end+e.breakAt(end))
		return
	}
	e.remove(e.lineBefore(start), end)
}

// insert inserts a key and its value before an entry, or after the last one.
func (e *editor) insert(s *siblings, before int, name string, value any) {
	if !s.isBlock() {
		e.insertIntoFlow(s, before, s.flow.key(name)+s.flow.value(value))
		return
	}
	e.insertLines(s, before, e.linesOf(s.parent, map[string]any{name: value}))
}

// insertElement inserts an element into a list before another one, or after the last.
// An element that was elsewhere in the list keeps its text. The exception is a block
// scalar, which could include the text that follows it in its new place.
func (e *editor) insertElement(s *siblings, before int, have []any, value any) {
	var moved *entry
	for i := range s.entries {
		if s.removed[i] && reflect.DeepEqual(have[i], value) && !s.entries[i].endsInBlockScalar() {
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
		e.insertLines(s, before, e.element(s.parent, &s.entries[0], value))
	}
}

// element returns the lines of an element with its dash. The space after the dash is as
// wide as that of a sibling.
func (e *editor) element(list *yaml.Node, sibling *entry, value any) []string {
	dash := "- "
	if width := e.start(sibling.value) - sibling.start; width > 1 && width <= maxIndent && e.oneLine(sibling.start, sibling.start+width) {
		dash = "-" + strings.Repeat(" ", width-1)
	}
	return withDash(dash, e.linesOf(list, value))
}

// linesOf returns the lines of a value, in the style of its surroundings.
func (e *editor) linesOf(near *yaml.Node, value any) []string {
	if e.style == nil {
		whole := style{mapping: 2, scalars: e.scalars}.detect(e.root)
		e.style = &whole
	}
	return e.style.detect(near).linesOf(Plain(value))
}

// insertLines inserts lines before an entry of a block, or after the last one.
func (e *editor) insertLines(s *siblings, before int, lines []string) {
	last := &s.entries[len(s.entries)-1]
	if before == len(s.entries) && last.key != nil && last.endsInBlockScalar() && e.lineEnd(last.end) == len(e.bytes) {
		before-- // because a final scalar without a line break would get one
	}
	indent := e.column(s.entries[0].start)
	if before == len(s.entries) {
		e.insertBelow(e.endWithComments(last), indent, lines)
		return
	}
	next := &s.entries[before]
	floor := s.at.entry.afterIndicator
	if before > 0 {
		floor = s.entries[before-1].end
	}
	if above := e.lineAbove(next, floor); above >= 0 && before != s.inFirstLine(e) {
		e.insertBelow(above, indent, lines)
		return
	}
	separator := e.newline + strings.Repeat(" ", indent)
	e.splices.insert(next.start, strings.Join(lines, separator)+separator)
}

// insertBelow inserts indented lines below the line that ends at an offset.
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
