// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalars caches the texts of values without children, because a document has the same
// ones again and again.
type scalars map[scalar]string

type scalar struct {
	value  any  // a string, a bool, a json.Number or nil
	inFlow bool // in braces or brackets, where more texts need quotes
}

// text returns the text of a value without children in block style.
func (s scalars) text(value any) string { return s.write(value, false) }

// flowText returns the text of a value without children in braces or brackets.
func (s scalars) flowText(value any) string { return s.write(value, true) }

func (s scalars) write(value any, inFlow bool) string {
	switch value.(type) {
	case map[string]any:
		return "{}"
	case []any:
		return "[]"
	}
	text, ok := s[scalar{value, inFlow}]
	if !ok {
		text = marshal(value, inFlow)
		s[scalar{value, inFlow}] = text
	}
	return text
}

func marshal(value any, inFlow bool) string {
	n := nodeOf(value)
	if inFlow {
		n = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{n}}
	}
	text, err := yaml.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("what came from JSON does not become YAML: %v", err))
	}
	line := strings.TrimSuffix(string(text), "\n")
	if inFlow {
		line = line[len("[") : len(line)-len("]")]
	}
	return line
}

// nodeOf returns a node for a value without children.
func nodeOf(value any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode}
	switch v := value.(type) {
	case string:
		// Encode knows which texts need quotes to stay texts.
		if err := n.Encode(v); err != nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" || strings.ContainsAny(v, "\r\n") {
			n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: v, Style: yaml.DoubleQuotedStyle}
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(v)
	case json.Number:
		n.Tag, n.Value = "!!int", v.String()
		if strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!float"
		}
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n
}

// jsonText returns a value as JSON.
func jsonText(value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Sprintf("what came from JSON does not become JSON: %v", err))
	}
	return strings.TrimSuffix(out.String(), "\n")
}
