// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// Document is a text with the results of two parsers.
type Document struct {
	Text []byte
	// Root is the text as a tree with positions. A node without a line, made from JSON,
	// has its byte offset as its column.
	Root *yaml.Node
	// Value is the text's value, as encoding/json decodes it with UseNumber.
	Value any
	// Before maps new keys of mappings to the keys before which they are inserted.
	// Other keys are inserted at the end.
	Before map[string]string
}

// Source is a value together with its text.
type Source struct {
	// Path is the path from the root, of keys and indexes.
	Path []string
	// Text is the value's text. It is [Merged] if only a merge key provides the value.
	// In block style it begins after the key's colon.
	Text string
	// Value is the value of the text.
	Value any
}

// Merged is the Text of a key that is not written, because a merge key (<<) provides
// it.
const Merged = mergeKey

// Edited is a document after an edit.
type Edited struct {
	Text []byte
	// Replaced are the empty values, aliases and merged keys that were replaced. If the
	// caller puts one of them into the wanted value, its text is written back.
	Replaced []Source
}

// Edit returns the document with value want. want consists of values as in Document,
// and may contain Sources. Edit returns an error if the text cannot be edited in its
// place.
func (d *Document) Edit(want any) (*Edited, error) {
	root := d.Root
	if root.Kind == yaml.DocumentNode {
		root = root.Content[0]
	}
	e := editor{
		text: newText(d.Text), root: root, before: d.Before, newline: "\n",
		scalars: scalars{}, anchorValues: map[*yaml.Node]any{},
	}
	if first := e.lineEnd(0); e.breakAt(first) == len("\r\n") {
		e.newline = "\r\n"
	}
	e.edit(place{}, root, d.Value, want)
	if e.problem != nil {
		return nil, e.problem
	}
	text, err := e.splices.apply(d.Text)
	if err != nil {
		return nil, err
	}
	return &Edited{Text: text, Replaced: e.replaced}, nil
}

// editor collects the changes to a document.
type editor struct {
	text
	splices
	root         *yaml.Node
	before       map[string]string
	newline      string
	scalars      scalars
	style        *style // of the whole document; nil until it is needed
	replaced     []Source
	anchorValues map[*yaml.Node]any // new values of nodes with anchors
}

// place is the position of a value in the text.
type place struct {
	path   []string
	parent *yaml.Node // the list or mapping that has it; nil for the root
	entry  entry
	flow   *flow // of the list or mapping; nil in block style
}

// childPlace returns the place of an entry's value.
func (s *siblings) childPlace(i int, name string) place {
	return place{path: childPath(s.at.path, name), parent: s.parent, entry: s.entries[i], flow: s.flow}
}

// childPath returns path with name appended, in new memory.
func childPath(path []string, name string) []string {
	return append(slices.Clip(path), name)
}

// edit changes the text of node n, whose value is have, to value want.
func (e *editor) edit(at place, n *yaml.Node, have, want any) {
	if e.problem != nil || reflect.DeepEqual(have, want) {
		return
	}
	if n.Kind == yaml.AliasNode {
		if will, ok := e.anchorValues[n.Alias]; ok && reflect.DeepEqual(will, Plain(want)) {
			return
		}
	} else if n.Anchor != "" {
		e.anchorValues[n] = Plain(want)
	}
	switch from := have.(type) {
	case map[string]any:
		if to, ok := want.(map[string]any); ok && n.Kind == yaml.MappingNode && len(n.Content) > 0 && len(to) > 0 {
			e.mapping(at, n, from, to)
			return
		}
	case []any:
		if to, ok := want.([]any); ok && n.Kind == yaml.SequenceNode && len(from) == len(n.Content) && len(from) > 0 && len(to) > 0 {
			e.list(at, n, from, to)
			return
		}
	}
	e.replace(at, n, have, want)
}

// siblings returns the entries of a node.
func (e *editor) siblings(at place, n *yaml.Node) *siblings {
	s := &siblings{at: at, parent: n, entries: e.entries(n)}
	s.removed = make([]bool, len(s.entries))
	if isFlow(n) {
		s.flow = e.flowOf(n, at.flow)
	}
	return s
}

// mapping edits a mapping that has keys before and after.
func (e *editor) mapping(at place, n *yaml.Node, have, want map[string]any) {
	s := e.siblings(at, n)
	entryIndex := map[string]int{} // index in s.entries, by key
	for i := range s.entries {
		name, ok := s.entries[i].name()
		if _, had := have[name]; !ok || !had {
			continue
		}
		entryIndex[name] = i
		target, stays := want[name]
		source, isSource := target.(Source)
		s.removed[i] = !stays || isSource && source.Text == Merged
	}
	if s.mustReplace(e) {
		e.replace(at, n, have, want)
		return
	}
	byPlace := func(a, b string) int { return cmp.Compare(entryIndex[a], entryIndex[b]) } // so that anchors come before aliases
	for _, name := range slices.SortedFunc(maps.Keys(entryIndex), byPlace) {
		if i := entryIndex[name]; !s.removed[i] {
			e.edit(s.childPlace(i, name), s.entries[i].value, have[name], want[name])
		}
	}
	for _, name := range sortedKeys(have) {
		_, written := entryIndex[name]
		if _, stays := want[name]; !stays && !written {
			e.fail(e.start(n), fmt.Sprintf("has no key %q of its own that could be removed", name))
		}
	}
	e.removeFrom(s)
	for _, name := range sortedKeys(want) {
		value, had := have[name]
		if _, written := entryIndex[name]; written || had && reflect.DeepEqual(value, want[name]) {
			continue
		}
		if had {
			e.replaced = append(e.replaced, Source{Path: childPath(at.path, name), Text: Merged, Value: value})
		}
		e.insert(s, e.insertionIndex(s, name), name, want[name])
	}
}

// list edits a list that has elements before and after.
func (e *editor) list(at place, n *yaml.Node, have, want []any) {
	s := e.siblings(at, n)
	pairs := align(have, want)
	oldIndex := make([]int, len(want)) // index in have; -1 for new elements
	for j := range oldIndex {
		oldIndex[j] = -1
	}
	for i, j := range pairs {
		if s.removed[i] = j < 0; !s.removed[i] {
			oldIndex[j] = i
		}
	}
	if s.mustReplace(e) {
		e.replace(at, n, have, want)
		return
	}
	e.removeFrom(s)
	for j, value := range want {
		if i := oldIndex[j]; i >= 0 {
			e.edit(s.childPlace(i, strconv.Itoa(i)), s.entries[i].value, have[i], value)
			continue
		}
		before := len(s.entries)
		if next := slices.IndexFunc(oldIndex[j:], func(i int) bool { return i >= 0 }); next >= 0 {
			before = oldIndex[j+next]
		}
		e.insertElement(s, before, have, value)
	}
}

// Plain returns a value in which each Source is replaced by its Value.
func Plain(value any) any {
	switch v := value.(type) {
	case Source:
		return v.Value
	case map[string]any:
		plain := make(map[string]any, len(v))
		for key, child := range v {
			plain[key] = Plain(child)
		}
		return plain
	case []any:
		plain := make([]any, len(v))
		for i, child := range v {
			plain[i] = Plain(child)
		}
		return plain
	default:
		return value
	}
}
