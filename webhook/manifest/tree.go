// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	kubeyaml "sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
	"github.com/shoot-proxy/proxy-client/webhook/internal/yamltext"
)

// maxDocument is how long a document may be, and what its aliases may make of it. An
// API server takes no more than 3 MiB in one request.
const maxDocument = 8 << 20

// tree is what a document says, to be looked at and to be edited.
type tree struct {
	node  *yaml.Node // a document's, or a JSON value's
	value any        // the same, as kubectl reads it
}

// parse reads a document. problem is the end of a sentence.
func (d *document) parse() (t *tree, problem string) {
	switch {
	case d.problem != "":
		return nil, d.problem
	case len(d.body) > maxDocument:
		return nil, fmt.Sprintf("is longer than %d MiB: split it", maxDocument>>20)
	case !utf8.Valid(d.body):
		return nil, "is not UTF-8: convert it"
	case d.json:
		return parseJSON(d.body)
	}
	return d.parseYAML()
}

// lineNumber finds the lines that parsers speak of.
var lineNumber = regexp.MustCompile(`\bline \d+\b`)

// relocate makes the lines in a problem the stream's.
func (d *document) relocate(problem string) string {
	return lineNumber.ReplaceAllStringFunc(problem, func(text string) string {
		n, err := strconv.Atoi(text[len("line "):])
		if err != nil {
			return text
		}
		return fmt.Sprintf("line %d", n+d.line-1)
	})
}

func (d *document) parseYAML() (t *tree, problem string) {
	decoder := yaml.NewDecoder(bytes.NewReader(d.body))
	t = &tree{node: &yaml.Node{}}
	if err := decoder.Decode(t.node); err != nil {
		return nil, d.unparsed(err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, "goes on where it should end: write --- on a line of its own between two documents"
	}
	if problem := check(t.node); problem != "" {
		return nil, d.relocate(problem)
	}
	text, err := kubeyaml.YAMLToJSON(d.body)
	if err == nil {
		t.value, err = decode(text)
	}
	if err != nil {
		return nil, d.notJSON(t.node, err)
	}
	return t, ""
}

func parseJSON(body []byte) (t *tree, problem string) {
	t = &tree{}
	var err error
	if t.value, err = decode(body); err != nil {
		return nil, yamlsyntax.Problem(err, body)
	}
	r := jsonReader{json.NewDecoder(bytes.NewReader(body)), body}
	r.UseNumber()
	if t.node, err = r.node(); err != nil {
		return nil, yamlsyntax.Problem(err, body)
	}
	return t, check(t.node)
}

// decode reads JSON with numbers as they are written.
func decode(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

// jsonReader makes a tree of JSON, as package yamltext wants it.
type jsonReader struct {
	*json.Decoder
	text []byte
}

// node reads the next value as a tree, which keeps the order of keys and those that are
// there twice.
func (r *jsonReader) node() (*yaml.Node, error) {
	begin := int(r.InputOffset())
	begin += len(r.text[begin:]) - len(bytes.TrimLeft(r.text[begin:], " \t\r\n,:"))
	token, err := r.Token()
	if err != nil {
		return nil, err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		n := scalar(token)
		n.Column = begin
		return n, nil
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle, Column: begin}
	if delim == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for r.More() { // a key is a value to the decoder
		child, err := r.node()
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err = r.Token() // the bracket
	return n, err
}

// scalar makes a node of one of encoding/json's values.
func scalar(value any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch v := value.(type) {
	case string:
		n.Tag, n.Value, n.Style = "!!str", v, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n
}

// check refuses keys that are there twice, which YAML and JSON readers understand
// differently, and aliases that make too much of a small document.
func check(n *yaml.Node) (problem string) {
	c := checker{sizes: map[*yaml.Node]int{}}
	if c.size(n) > maxDocument && c.problem == "" {
		return fmt.Sprintf("is longer than %d MiB with its aliases written out: use fewer", maxDocument>>20)
	}
	return c.problem
}

// checker measures a tree as if every alias were written out.
type checker struct {
	sizes   map[*yaml.Node]int // of what is measured; -1 while it is being
	problem string
}

func (c *checker) size(n *yaml.Node) int {
	if n == nil {
		return 0
	}
	if known, ok := c.sizes[n]; ok {
		if known < 0 {
			c.problem = fmt.Sprintf("has an alias within its own anchor (line %d): write it out", n.Line)
			return 0
		}
		return known
	}
	c.sizes[n] = -1
	size := 1 + len(n.Value) + c.size(n.Alias)
	seen := map[string]bool{}
	for i, child := range n.Content {
		size = min(size+c.size(child), math.MaxInt32)
		if n.Kind != yaml.MappingNode || i%2 != 0 || child.Kind != yaml.ScalarNode {
			continue
		}
		if seen[child.Value] && child.Value != yamltext.Merged && c.problem == "" {
			c.problem = fmt.Sprintf("has the key %q twice%s: remove one", child.Value, at(child))
		}
		seen[child.Value] = true
	}
	c.sizes[n] = size
	return size
}

func at(n *yaml.Node) string {
	if n.Line == 0 { // JSON's
		return ""
	}
	return fmt.Sprintf(" (line %d)", n.Line)
}
