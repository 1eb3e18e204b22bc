// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
)

// parseProblem returns in plain words why a parser has refused the document.
func (d *document) parseProblem(err error) string {
	return d.relocate(yamlsyntax.Problem(err, d.body))
}

// jsonProblem returns why the document, which is YAML, cannot become the JSON for the
// API server.
func (d *document) jsonProblem(root *yaml.Node, err error) string {
	if problem := d.yamlOnly(nil, root); problem != "" && yamlsyntax.Template(d.body) == 0 {
		return problem
	}
	return d.parseProblem(err)
}

// yamlOnly returns the first value that YAML allows and JSON does not: a key that is
// not text, or a number without digits.
func (d *document) yamlOnly(path []string, n *yaml.Node) string {
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
			if problem := d.yamlOnly(childPath(path, key.Value), n.Content[i+1]); problem != "" {
				return problem
			}
		}
	default:
		for i, child := range n.Content {
			at := path
			if n.Kind == yaml.SequenceNode {
				at = childPath(path, pathIndex(i))
			}
			if problem := d.yamlOnly(at, child); problem != "" {
				return problem
			}
		}
	}
	return ""
}
