// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// style is how lines are indented.
type style struct {
	mapping int // how much deeper than its key a mapping is
	list    int // how much deeper than its key the dashes of a list are
}

// of returns what most of a part of a document has; s where that tells nothing.
func (s style) of(part *yaml.Node) style {
	mappings, lists := indents{}, indents{}
	count(part, mappings, lists)
	return style{mapping: mappings.most(s.mapping), list: lists.most(s.list)}
}

// indents are how often which indent is there.
type indents map[int]int

// maxIndent is the deepest that anything is taken for a style.
const maxIndent = 8

func count(n *yaml.Node, mappings, lists indents) {
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
		count(child, mappings, lists)
	}
}

// most returns the most frequent, of several the least; fallback where there is none.
func (all indents) most(fallback int) int {
	most := fallback
	for _, by := range slices.Sorted(maps.Keys(all)) {
		if all[by] > all[most] {
			most = by
		}
	}
	return most
}

// linesOf writes a value as lines of block style.
func (s style) linesOf(value any) []string {
	var all []string
	switch v := value.(type) {
	case map[string]any:
		for _, key := range sortedKeys(v) {
			all = append(all, s.pair(key, v[key])...)
		}
	case []any:
		for _, element := range v {
			all = append(all, hang("- ", s.linesOf(element))...)
		}
	default:
		return []string{scalarText(value)}
	}
	if len(all) == 0 {
		return []string{scalarText(value)}
	}
	return all
}

// pair writes a key and its value.
func (s style) pair(key string, value any) []string {
	first := scalarText(key) + ":"
	if !hasChildren(value) {
		return []string{first + " " + scalarText(value)}
	}
	indent := s.mapping
	if _, isList := value.([]any); isList {
		indent = s.list
	}
	return append([]string{first}, indented(indent, s.linesOf(value))...)
}

// hang puts a dash in front of an element's lines, and the others below its first.
func hang(dash string, lines []string) []string {
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

// scalarText writes what has no children in one line.
func scalarText(value any) string {
	text, err := yaml.Marshal(treeOf(value))
	if err != nil {
		panic(fmt.Sprintf("what came from JSON does not become YAML: %v", err))
	}
	return strings.TrimSuffix(string(text), "\n")
}

// treeOf makes a tree of a value, with an element's name first, as people write it.
func treeOf(value any) *yaml.Node {
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range sortedKeys(v) {
			n.Content = append(n.Content, treeOf(key), treeOf(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, e := range v {
			n.Content = append(n.Content, treeOf(e))
		}
		return n
	case string:
		n := &yaml.Node{}
		if err := n.Encode(v); err != nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" || strings.ContainsAny(v, "\r\n") {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: yaml.DoubleQuotedStyle}
		}
		return n
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(v)}
	case nil:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	default: // a json.Number
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: numberTag(textOf(v)), Value: textOf(v)}
	}
}

func numberTag(text string) string {
	if strings.ContainsAny(text, ".eE") {
		return "!!float"
	}
	return "!!int"
}

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
