// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// edit returns the document's body after some edits.
func (d *document) edit(t *tree, edits []edit) ([]byte, error) {
	want, err := t.expect(edits)
	if err != nil {
		return nil, err
	}
	if err := apply(t.node, edits); err != nil {
		return nil, err
	}
	encode := encodeYAML
	if d.json {
		encode = encodeJSON
	}
	text, err := encode(t.node, d.body)
	if err != nil {
		return nil, err
	}
	again := document{body: text, json: d.json, line: 1}
	got, problem := again.parse()
	if problem != "" {
		return nil, errors.New(problem)
	}
	if !reflect.DeepEqual(got.value, want) {
		return nil, errors.New("it would change something else too, as anchors do: write the aliases out")
	}
	return text, nil
}

// expect returns what the document has to say after some edits, by a way that knows of
// no YAML.
func (t *tree) expect(edits []edit) (any, error) {
	text, err := json.Marshal(t.value)
	if err != nil {
		return nil, err
	}
	plain, problem := parseJSON(text)
	if problem != "" {
		return nil, errors.New(problem)
	}
	if err := apply(plain.node, edits); err != nil {
		return nil, err
	}
	var edited bytes.Buffer
	if err := writeJSON(&edited, plain.node); err != nil {
		return nil, err
	}
	return decode(edited.Bytes())
}

// encodeYAML writes a tree in the style of what it was read from.
func encodeYAML(n *yaml.Node, like []byte) ([]byte, error) {
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	s := styleOf(n)
	encoder.SetIndent(s.indent)
	if s.compact {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(n); err != nil {
		return nil, errors.New(sentence(err))
	}
	if err := encoder.Close(); err != nil {
		return nil, errors.New(sentence(err))
	}
	text := out.Bytes()
	if lines := bytes.Count(like, []byte("\n")); lines > 0 && lines == bytes.Count(like, []byte("\r\n")) {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return text, nil
}

// style is how a document is indented.
type style struct {
	indent  int
	compact bool // the dashes of a list stand below its key
}

// styleOf returns what most of a document has.
func styleOf(n *yaml.Node) style {
	indents, compact, indented := map[int]int{}, 0, 0
	var look func(n *yaml.Node)
	look = func(n *yaml.Node) {
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && child.Style&yaml.FlowStyle == 0 && child.Line > n.Content[i-1].Line {
				by := child.Column - n.Content[i-1].Column
				switch {
				case child.Kind == yaml.MappingNode && by > 0:
					indents[by]++
				case child.Kind == yaml.SequenceNode && by == 0:
					compact++
				case child.Kind == yaml.SequenceNode && by > 0:
					indented++
				}
			}
			look(child)
		}
	}
	look(n)
	s := style{indent: 2, compact: compact >= indented}
	for by, count := range indents {
		if count > indents[s.indent] || count == indents[s.indent] && by < s.indent {
			s.indent = by
		}
	}
	s.indent = min(s.indent, 8) // more is nobody's style
	return s
}

// encodeJSON writes a tree with the indent of what it was read from.
func encodeJSON(n *yaml.Node, like []byte) ([]byte, error) {
	var compact, out bytes.Buffer
	if err := writeJSON(&compact, n); err != nil {
		return nil, err
	}
	_, second, found := strings.Cut(string(like), "\n")
	if !found {
		return compact.Bytes(), nil
	}
	indent := second[:len(second)-len(strings.TrimLeft(second, " \t"))]
	if err := json.Indent(&out, compact.Bytes(), "", indent); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// writeJSON writes a tree that came from JSON.
func writeJSON(out *bytes.Buffer, n *yaml.Node) error {
	open, between, end := "[", [2]string{",", ","}, "]"
	switch n.Kind {
	case yaml.ScalarNode:
		return writeScalar(out, n)
	case yaml.SequenceNode:
	case yaml.MappingNode:
		open, between, end = "{", [2]string{",", ":"}, "}"
	default:
		return fmt.Errorf("JSON has no node of kind %d", n.Kind)
	}
	out.WriteString(open)
	for i, child := range n.Content {
		if i > 0 {
			out.WriteString(between[i%2])
		}
		if err := writeJSON(out, child); err != nil {
			return err
		}
	}
	out.WriteString(end)
	return nil
}

func writeScalar(out *bytes.Buffer, n *yaml.Node) error {
	if n.Tag != "!!str" {
		out.WriteString(n.Value)
		return nil
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(n.Value); err != nil {
		return err
	}
	out.Truncate(out.Len() - 1) // the encoder ends with a line break
	return nil
}
