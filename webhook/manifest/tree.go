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

// maxDocumentBytes is the maximum size of a document, also with its aliases written
// out. An API server takes at most 3 MiB in one request.
const maxDocumentBytes = 8 << 20

// tree is a parsed document, as nodes to edit and as a value to read.
type tree struct {
	node  *yaml.Node // of a document, or of a JSON value
	value any        // the same, as kubectl reads it
}

// parse parses a document. problem is the end of a sentence.
func (d *document) parse() (t *tree, problem string) {
	switch {
	case d.problem != "":
		return nil, d.problem
	case len(d.body) > maxDocumentBytes:
		return nil, fmt.Sprintf("is longer than %d MiB: split it", maxDocumentBytes>>20)
	case !utf8.Valid(d.body):
		return nil, "is not UTF-8: convert it"
	case d.json:
		return parseJSON(d.body)
	}
	return d.parseYAML()
}

// lineNumber matches line numbers in parsers' messages.
var lineNumber = regexp.MustCompile(`\bline \d+\b`)

// relocate changes the line numbers in a problem to those of the stream.
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
		return nil, d.parseProblem(err)
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
		return nil, d.jsonProblem(t.node, err)
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

// decode decodes JSON, and keeps numbers as they are written.
func decode(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err = decoder.Decode(&value)
	return value, err
}

// jsonReader makes a tree of JSON, for package yamltext.
type jsonReader struct {
	*json.Decoder
	text []byte
}

// node reads the next value as a tree. The tree keeps the order of keys, and duplicate
// keys.
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
	for r.More() { // the decoder returns a key like a value
		child, err := r.node()
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err = r.Token() // the bracket
	return n, err
}

// scalar returns a node for one of encoding/json's values.
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

// check refuses duplicate keys, because YAML and JSON parsers treat them differently.
// It also refuses aliases that make a small document too large.
func check(n *yaml.Node) (problem string) {
	c := checker{sizes: map[*yaml.Node]int{}}
	if c.size(n) > maxDocumentBytes && c.problem == "" {
		return fmt.Sprintf("is longer than %d MiB with its aliases written out: use fewer", maxDocumentBytes>>20)
	}
	return c.problem
}

// checker computes the size of a tree with all aliases written out.
type checker struct {
	sizes   map[*yaml.Node]int // of nodes; -1 while a node is being measured
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
			c.problem = fmt.Sprintf("has the key %q twice%s: remove one", child.Value, inLine(child))
		}
		seen[child.Value] = true
	}
	c.sizes[n] = size
	return size
}

func inLine(n *yaml.Node) string {
	if n.Line == 0 { // a node from JSON
		return ""
	}
	return fmt.Sprintf(" (line %d)", n.Line)
}
