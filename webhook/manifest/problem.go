// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
)

// inPlainWords is a problem of a document's that its parsers found, in words of ours.
func (d *document) inPlainWords(problem string) string {
	const parsers = "does not parse: "
	said, ok := strings.CutPrefix(problem, parsers)
	if !ok {
		return problem
	}
	if line := yamlsyntax.Template(d.body); line > 0 {
		return yamlsyntax.Unrendered(line + d.line - 1)
	}
	var root yaml.Node
	if yaml.Unmarshal(d.body, &root) == nil {
		if problem := d.notJSON(nil, &root); problem != "" {
			return problem
		}
	}
	return parsers + yamlsyntax.Plain(said)
}

// notJSON finds what YAML has and JSON has not, which is what the API server is sent: the
// first key that is no text, or number that has no digits.
func (d *document) notJSON(path []string, n *yaml.Node) string {
	line := n.Line + d.line - 1
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!float" && !strings.ContainsAny(n.Value, "0123456789"):
		return fmt.Sprintf("has %s for %s (line %d), which is no number of JSON: write digits, or quotes around a text", n.Value, dotted(path), line)
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if key.Kind != yaml.ScalarNode && key.Kind != yaml.AliasNode || key.Tag == "!!null" {
				at := ""
				if len(path) > 0 {
					at = " in " + dotted(path)
				}
				return fmt.Sprintf("has a key%s that is no text (line %d): write one, in quotes where it needs them", at, key.Line+d.line-1)
			}
			if problem := d.notJSON(append(path[:len(path):len(path)], key.Value), n.Content[i+1]); problem != "" {
				return problem
			}
		}
	default:
		for i, child := range n.Content {
			at := path
			if n.Kind == yaml.SequenceNode {
				at = append(path[:len(path):len(path)], "["+strconv.Itoa(i)+"]")
			}
			if problem := d.notJSON(at, child); problem != "" {
				return problem
			}
		}
	}
	return ""
}
