// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// replace replaces a node of value have with the text of want.
func (e *editor) replace(at place, n *yaml.Node, have, want any) {
	source, isSource := want.(Source)
	old, isAlias := &at.entry, n.Kind == yaml.AliasNode
	marked := !isAlias && (n.Anchor != "" || isTagged(n))
	inLine := at.parent != nil && e.oneLine(old.afterIndicator, old.end) && !marked
	switch {
	case at.parent == nil:
		e.replaceRoot(n, want)
	case isSource && isBlockCollection(n) && old.key != nil:
		e.closeBlock(old, source.Text)
	case isSource:
		e.splices.replace(old.afterIndicator, old.end, source.Text)
	case isBlockCollection(n) && marked:
		e.fail(e.start(n), "has an anchor or a tag before a list or mapping that is to be replaced")
	case at.flow != nil:
		e.recordReplaced(at, n, have)
		e.replaceByFlow(at.flow, old, want)
	case !hasChildren(want) && isBlockCollection(n) && old.key != nil:
		e.closeBlock(old, " "+e.linesOf(at.parent, want)[0])
	case !hasChildren(want):
		e.replaceByText(old, e.linesOf(at.parent, want)[0])
	case inLine && old.key != nil: // a comment after the value stays in its line
		e.recordReplaced(at, n, have)
		e.remove(old.afterIndicator, old.end)
		e.insertBelow(e.lineEnd(old.end), e.column(old.start), e.linesOf(at.parent, map[string]any{"": want})[1:])
	case !inLine && (isAlias || have == nil || isFlow(n) && len(n.Content) == 0):
		e.recordReplaced(at, n, have)
		e.replaceByFlow(e.flowOf(n, nil), old, want)
	default:
		e.recordReplaced(at, n, have)
		e.replaceByBlock(at, want)
	}
}

// recordReplaced records a text that cannot be derived from the new text.
func (e *editor) recordReplaced(at place, n *yaml.Node, have any) {
	if n.Kind == yaml.AliasNode || have == nil || isFlow(n) && len(n.Content) == 0 {
		text := string(e.bytes[at.entry.afterIndicator:at.entry.end])
		e.replaced = append(e.replaced, Source{Path: at.path, Text: text, Value: have})
	}
}

// hasChildren reports whether a value is a list or mapping that is not empty.
func hasChildren(value any) bool {
	switch v := value.(type) {
	case map[string]any:
		return len(v) > 0
	case []any:
		return len(v) > 0
	default:
		return false
	}
}

func (e *editor) replaceRoot(n *yaml.Node, want any) {
	if !isFlow(n) {
		e.fail(e.start(n), "begins what would be another document")
		return
	}
	e.splices.replace(e.content(n), e.end(n), e.flowOf(n, nil).value(want))
}

// closeBlock replaces the block below a key with a text after the key. A comment after
// the key stays.
func (e *editor) closeBlock(old *entry, text string) {
	e.splices.insert(old.afterIndicator, text)
	e.remove(e.lineEnd(old.afterIndicator), e.lineEnd(old.end))
}

// replaceByText replaces a value with a text.
func (e *editor) replaceByText(old *entry, text string) {
	if isImplicitNull(old.value) {
		e.splices.insert(old.afterIndicator, " "+text)
		return
	}
	e.splices.replace(e.content(old.value), e.end(old.value), text)
}

// replaceByFlow writes a value in one line, or fills the existing brackets.
func (e *editor) replaceByFlow(style *flow, old *entry, want any) {
	text := style.value(want)
	n := old.value
	if isFlow(n) && len(n.Content) == 0 && text[0] == e.at(e.content(n)) {
		e.splices.insert(old.end-1, text[1:len(text)-1])
		return
	}
	e.replaceByText(old, text)
}

// replaceByBlock writes a list or mapping after a key or a dash.
func (e *editor) replaceByBlock(at place, want any) {
	old := &at.entry
	separator := e.newline + strings.Repeat(" ", e.column(old.start))
	text := ""
	if old.key != nil {
		text = separator + strings.Join(e.linesOf(at.parent, map[string]any{"": want})[1:], separator)
	} else {
		text = strings.Join(e.element(at.parent, old, want), separator)[len("-"):]
	}
	e.splices.replace(old.afterIndicator, old.end, text)
}
