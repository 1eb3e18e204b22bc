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

// Document is a text and what two parsers make of it.
type Document struct {
	Text []byte
	// Root is the text as a tree with positions. A node without a line, as one made
	// from JSON, has its offset in bytes as its column.
	Root *yaml.Node
	// Value is what the text says, as encoding/json decodes it with UseNumber.
	Value any
	// Before has, by new keys of mappings, the keys before which they look best. All
	// others go to the end.
	Before map[string]string
}

// Source is a value together with how it is written.
type Source struct {
	// Path leads to it from the root, by keys and indexes.
	Path []string
	// Text is the value's, [Merged] for one that only a merge key gives. In block style
	// it begins behind the key's colon.
	Text string
	// Value is what the text says.
	Value any
}

// Merged is the text of a key that is not written, because a merge key (<<) gives it.
const Merged = mergeKey

// Edited is a document after a change.
type Edited struct {
	Text []byte
	// Replaced are the empty values, aliases and merged keys in whose place something
	// else is written now. The caller that puts one into what the document should say
	// gets its text back.
	Replaced []Source
}

// Edit returns the document that says want: values as in Document, and Sources among
// them. Where it returns an error, the text cannot be changed in its place.
func (d *Document) Edit(want any) (*Edited, error) {
	root := d.Root
	if root.Kind == yaml.DocumentNode {
		root = root.Content[0]
	}
	e := editor{
		text: newText(d.Text), root: root, before: d.Before, newline: "\n",
		scalars: scalars{}, anchored: map[*yaml.Node]any{},
	}
	if first := e.lineEnd(0); e.breakAt(first) == len("\r\n") {
		e.newline = "\r\n"
	}
	e.node(place{}, root, d.Value, want)
	if e.problem != nil {
		return nil, e.problem
	}
	text, err := e.splices.apply(d.Text)
	if err != nil {
		return nil, err
	}
	return &Edited{Text: text, Replaced: e.replaced}, nil
}

// editor collects what is to change in a document.
type editor struct {
	text
	splices
	root     *yaml.Node
	before   map[string]string
	newline  string
	scalars  scalars
	style    *style // of the whole; nil until it is asked for
	replaced []Source
	anchored map[*yaml.Node]any // what nodes that aliases may mean will say
}

// place is where in the text a value is.
type place struct {
	path  []string
	of    *yaml.Node // the list or mapping; nil for the root
	entry entry
	flow  *flow // of the list or mapping; nil in block style
}

// below returns the place of an entry's value.
func (s *siblings) below(i int, name string) place {
	return place{path: below(s.at.path, name), of: s.of, entry: s.entries[i], flow: s.flow}
}

// below returns a path of its own memory.
func below(path []string, name string) []string {
	return append(slices.Clip(path), name)
}

// node makes a node say want, where it says have.
func (e *editor) node(at place, n *yaml.Node, have, want any) {
	if e.problem != nil || reflect.DeepEqual(have, want) {
		return
	}
	if n.Kind == yaml.AliasNode {
		if will, ok := e.anchored[n.Alias]; ok && reflect.DeepEqual(will, Plain(want)) {
			return
		}
	} else if n.Anchor != "" {
		e.anchored[n] = Plain(want)
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
	s := &siblings{at: at, of: n, entries: e.entries(n)}
	s.gone = make([]bool, len(s.entries))
	if isFlow(n) {
		s.flow = e.flowOf(n, at.flow)
	}
	return s
}

// mapping edits a mapping that has keys before and after.
func (e *editor) mapping(at place, n *yaml.Node, have, want map[string]any) {
	s := e.siblings(at, n)
	own := map[string]int{} // where in entries
	for i := range s.entries {
		name, ok := s.entries[i].name()
		if _, had := have[name]; !ok || !had {
			continue
		}
		own[name] = i
		target, stays := want[name]
		source, isSource := target.(Source)
		s.gone[i] = !stays || isSource && source.Text == Merged
	}
	if s.isNew(e) {
		e.replace(at, n, have, want)
		return
	}
	byPlace := func(a, b string) int { return cmp.Compare(own[a], own[b]) } // anchors before aliases
	for _, name := range slices.SortedFunc(maps.Keys(own), byPlace) {
		if i := own[name]; !s.gone[i] {
			e.node(s.below(i, name), s.entries[i].value, have[name], want[name])
		}
	}
	for _, name := range sortedKeys(have) {
		_, isOwn := own[name]
		if _, stays := want[name]; !stays && !isOwn {
			e.fail(e.start(n), fmt.Sprintf("has no key %q of its own that could be removed", name))
		}
	}
	e.removeFrom(s)
	for _, name := range sortedKeys(want) {
		value, had := have[name]
		if _, isOwn := own[name]; isOwn || had && reflect.DeepEqual(value, want[name]) {
			continue
		}
		if had {
			e.replaced = append(e.replaced, Source{Path: below(at.path, name), Text: Merged, Value: value})
		}
		e.insert(s, e.placeFor(s, name), name, want[name])
	}
}

// list edits a list that has elements before and after.
func (e *editor) list(at place, n *yaml.Node, have, want []any) {
	s := e.siblings(at, n)
	pairs := align(have, want)
	was := make([]int, len(want)) // the index in have, -1 for what is new
	for j := range was {
		was[j] = -1
	}
	for i, j := range pairs {
		if s.gone[i] = j < 0; !s.gone[i] {
			was[j] = i
		}
	}
	if s.isNew(e) {
		e.replace(at, n, have, want)
		return
	}
	e.removeFrom(s)
	for j, value := range want {
		if i := was[j]; i >= 0 {
			e.node(s.below(i, strconv.Itoa(i)), s.entries[i].value, have[i], value)
			continue
		}
		before := len(s.entries)
		if next := slices.IndexFunc(was[j:], func(i int) bool { return i >= 0 }); next >= 0 {
			before = was[j+next]
		}
		e.insertElement(s, before, have, value)
	}
}

// Plain returns a value with that of each Source in its place.
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
