// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// style is the indentation of lines.
type style struct {
	mapping int // indent of a mapping, relative to its key
	list    int // indent of a list's dashes, relative to its key
	scalars scalars
}

// detect returns the most frequent indents in a part of a document. It returns those of
// s if the part has none.
func (s style) detect(part *yaml.Node) style {
	mappings, lists := indents{}, indents{}
	countIndents(part, mappings, lists)
	return style{mapping: mappings.mostFrequent(s.mapping), list: lists.mostFrequent(s.list), scalars: s.scalars}
}

// indents counts how often each indent occurs.
type indents map[int]int

// maxIndent is the deepest indent that counts as a style.
const maxIndent = 8

func countIndents(n *yaml.Node, mappings, lists indents) {
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && isBlockCollection(child) && child.Line > n.Content[i-1].Line {
			by := child.Column - n.Content[i-1].Column
			switch {
			case by > maxIndent:
			case child.Kind == yaml.MappingNode && by > 0:
				mappings[by]++
			case child.Kind == yaml.SequenceNode && by >= 0:
				lists[by]++
			}
		}
		countIndents(child, mappings, lists)
	}
}

// mostFrequent returns the most frequent indent, and of several the smallest. It
// returns fallback if there is none.
func (all indents) mostFrequent(fallback int) int {
	most := fallback
	for _, by := range slices.Sorted(maps.Keys(all)) {
		if all[by] > all[most] {
			most = by
		}
	}
	return most
}

// linesOf returns the lines of a value in block style.
func (s style) linesOf(value any) []string {
	var all []string
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			all = append(all, s.pair(key, v[key])...)
		}
	case []any:
		for _, element := range v {
			all = append(all, withDash("- ", s.linesOf(element))...)
		}
	default:
		return []string{s.scalars.text(value)}
	}
	if len(all) == 0 {
		return []string{s.scalars.text(value)}
	}
	return all
}

// pair returns the lines of a key and its value.
func (s style) pair(key string, value any) []string {
	first := s.scalars.text(key) + ":"
	if !hasChildren(value) {
		return []string{first + " " + s.scalars.text(value)}
	}
	indent := s.mapping
	if _, isList := value.([]any); isList {
		indent = s.list
	}
	return append([]string{first}, indented(indent, s.linesOf(value))...)
}

// withDash puts a dash before an element's first line, and indents the other lines.
func withDash(dash string, lines []string) []string {
	lines = indented(len(dash), lines)
	lines[0] = dash + strings.TrimLeft(lines[0], " ")
	return lines
}

func indented(by int, lines []string) []string {
	all := make([]string, len(lines))
	for i, line := range lines {
		all[i] = strings.Repeat(" ", by) + line
	}
	return all
}

// sortedKeys returns the keys in order. An element's name comes first, as people write
// it.
func sortedKeys(m map[string]any) []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int {
		switch {
		case a == b:
			return 0
		case a == "name":
			return -1
		case b == "name":
			return 1
		default:
			return strings.Compare(a, b)
		}
	})
}
