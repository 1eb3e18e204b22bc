// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// mergeKey is YAML's key for taking over the keys of another mapping.
const mergeKey = "<<"

// entry is a key of a mapping with its value, or an element of a list. Its offsets are
// in bytes.
type entry struct {
	key, value     *yaml.Node // key is nil in a list
	start          int        // of the key, the dash, or the element in brackets
	afterIndicator int        // after the colon or the dash; the start of an element in brackets
	end            int        // of the value, or where a comma may follow
}

// name returns the entry's key. ok is false if the entry is a merge key or has no
// scalar key.
func (e *entry) name() (name string, ok bool) {
	if e.key == nil || e.key.Kind != yaml.ScalarNode {
		return "", false
	}
	quoted := e.key.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
	return e.key.Value, quoted || e.key.Value != mergeKey
}

// endsInBlockScalar reports whether the entry's last text is a block scalar (| or >).
func (e *entry) endsInBlockScalar() bool {
	n := e.value
	for n.Kind != yaml.AliasNode && len(n.Content) > 0 {
		n = n.Content[len(n.Content)-1]
	}
	return n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// entries returns the entries of a list or mapping, in order.
func (t *text) entries(n *yaml.Node) []entry {
	if n.Kind == yaml.MappingNode {
		return t.pairs(n)
	}
	all := make([]entry, 0, len(n.Content))
	at := t.content(n)
	for _, value := range n.Content {
		e := entry{value: value, start: t.start(value), end: t.end(value)}
		e.afterIndicator = e.start
		if !isFlow(n) {
			e.start = t.skip(at)
			if t.at(e.start) != '-' {
				t.fail(e.start, "has an element whose dash is not found")
			}
			e.afterIndicator = e.start + 1
		}
		at = e.end
		all = append(all, e)
	}
	return all
}

func (t *text) pairs(n *yaml.Node) []entry {
	all := make([]entry, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		e := entry{key: n.Content[i], value: n.Content[i+1]}
		e.start = t.start(e.key)
		keyEnd := t.end(e.key)
		colon := t.skipBlanks(keyEnd)
		if isFlow(n) {
			colon = t.skip(keyEnd)
		}
		switch {
		case t.at(colon) == ':':
			e.afterIndicator = colon + 1
		case isFlow(n): // a key without a value, as in {a, b}
			e.afterIndicator = keyEnd
		default:
			t.fail(e.start, "has a key without its colon")
		}
		e.end = e.afterIndicator
		if !isImplicitNull(e.value) {
			e.end = t.end(e.value)
		}
		all = append(all, e)
	}
	return all
}

// isImplicitNull reports whether the node has no text at all.
func isImplicitNull(n *yaml.Node) bool {
	return isEmptyPlain(n) && n.Anchor == "" && !isTagged(n)
}

// column returns the number of characters before an offset in its line. If these are
// only dashes and spaces, it is also the offset's indent.
func (t *text) column(at int) int { return utf8.RuneCount(t.bytes[t.lineStart(at):at]) }

// beginsLine reports whether only spaces precede an offset in its line.
func (t *text) beginsLine(at int) bool {
	return strings.Trim(string(t.bytes[t.lineStart(at):at]), " ") == ""
}

// lineAbove returns the end of the line above an entry and its comment. The comment is
// the comment lines directly above that are not indented deeper. floor is the end of
// what precedes the entry. If there is no such line, it returns -1.
func (t *text) lineAbove(e *entry, floor int) int {
	if !t.beginsLine(e.start) {
		return -1
	}
	start := t.lineStart(e.start)
	for start > 0 {
		end := t.lineBefore(start)
		line := t.lineStart(end)
		comment := t.skipBlanks(line)
		if line <= floor || t.at(comment) != '#' || comment-line > t.column(e.start) {
			return end
		}
		start = line
	}
	return -1
}

// endWithComments returns the end of an entry's last line, including the comments below
// it with a deeper indent. Those are about something in the entry.
func (t *text) endWithComments(e *entry) int {
	end := t.lineEnd(e.end)
	for {
		next := end + t.breakAt(end)
		comment := t.skipBlanks(next)
		if next == end || t.at(comment) != '#' || comment-next <= t.column(e.start) {
			return end
		}
		end = t.lineEnd(next)
	}
}
