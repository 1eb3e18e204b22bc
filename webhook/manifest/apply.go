// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// mergeKey is YAML's way to take over the keys of another mapping.
const mergeKey = "<<"

// apply edits a tree. Its errors are about the tree not being what the edits were made
// for.
func apply(root *yaml.Node, edits []edit) error {
	for _, e := range edits {
		if err := e.apply(root); err != nil {
			return fmt.Errorf("%s of %s: %w", e.op, strings.Join(e.path, "."), err)
		}
	}
	return nil
}

func (e edit) apply(n *yaml.Node) error {
	if n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	for _, name := range e.path[:len(e.path)-1] {
		own(n)
		i, err := position(n, name)
		if err != nil {
			return err
		}
		n = n.Content[i]
	}
	own(n)
	name := e.path[len(e.path)-1]
	if n.Kind == yaml.SequenceNode {
		return e.applyToList(n, name)
	}
	return e.applyToMap(n, name)
}

func (e edit) applyToList(n *yaml.Node, name string) error {
	if e.op == opAdd {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i > len(n.Content) {
			return fmt.Errorf("no place %q in a list of %d", name, len(n.Content))
		}
		n.Content = slices.Insert(n.Content, i, written(e.value))
		return nil
	}
	i, err := position(n, name)
	if err != nil {
		return err
	}
	switch from, ok := e.value.(int); {
	case e.op == opRemove:
		n.Content = slices.Delete(n.Content, i, i+1)
	case e.op == opReplace:
		n.Content[i] = written(e.value)
	case e.op != opMove || !ok || from < 0 || from >= len(n.Content):
		return fmt.Errorf("nothing to %s from %v in a list of %d", e.op, e.value, len(n.Content))
	default:
		moved := n.Content[from]
		n.Content = slices.Insert(slices.Delete(n.Content, from, from+1), i, moved)
	}
	return nil
}

func (e edit) applyToMap(n *yaml.Node, name string) error {
	i, err := position(n, name)
	switch {
	case n.Kind != yaml.MappingNode:
		return err
	case e.op == opMove:
		return errors.New("only in a list is there an order")
	case err == nil && e.op == opRemove:
		n.Content = slices.Delete(n.Content, i-1, i+1)
	case err == nil: // a null, or an empty list, which the Go type leaves out
		value := written(e.value)
		if value.Kind == yaml.ScalarNode {
			value.LineComment = n.Content[i].LineComment
		} else if n.Content[i-1].LineComment == "" { // behind the key, where it stays in its line
			n.Content[i-1].LineComment = n.Content[i].LineComment
		}
		n.Content[i] = value
	case e.op == opAdd:
		to := len(n.Content)
		if before, err := position(n, nextTo[name]); err == nil {
			to = before - 1
		}
		n.Content = slices.Insert(n.Content, to, scalar(name), written(e.value))
	default:
		return err
	}
	return nil
}

// nextTo are the keys before which another looks best. All others go to the end.
var nextTo = map[string]string{"initContainers": "containers"}

// position returns where in n.Content the value of a key or an index is.
func position(n *yaml.Node, name string) (int, error) {
	switch n.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return i, nil
		}
		return 0, fmt.Errorf("no element %q in a list of %d", name, len(n.Content))
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i]; key.Kind == yaml.ScalarNode && key.Value == name {
				return i + 1, nil
			}
		}
		return 0, fmt.Errorf("no key %q", name)
	default:
		return 0, fmt.Errorf("%q is in neither a mapping nor a list", name)
	}
}

// own makes of an alias a copy that can be edited, and of merged keys ones of the
// mapping itself.
func own(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		*n = *clone(n.Alias)
	}
	i, err := position(n, mergeKey)
	if n.Kind != yaml.MappingNode || err != nil || n.Content[i-1].Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		return
	}
	merged := n.Content[i]
	n.Content = slices.Delete(n.Content, i-1, i+1)
	sources := []*yaml.Node{merged}
	if merged.Kind == yaml.SequenceNode {
		sources = merged.Content // the earlier wins
	}
	for _, source := range sources {
		own(source)
		for i := 0; i+1 < len(source.Content); i += 2 {
			if _, err := position(n, source.Content[i].Value); err != nil {
				n.Content = append(n.Content, clone(source.Content[i]), clone(source.Content[i+1]))
			}
		}
	}
}

// clone copies a tree without its anchors, which may be there only once.
func clone(n *yaml.Node) *yaml.Node {
	kopy := *n
	kopy.Anchor = ""
	kopy.Content = nil
	for _, child := range n.Content {
		kopy.Content = append(kopy.Content, clone(child))
	}
	return &kopy
}

// written makes a tree of a value, with an element's name first, as people write it.
func written(value any) *yaml.Node {
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		for _, key := range slices.SortedFunc(maps.Keys(v), byName) {
			n.Content = append(n.Content, written(key), written(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		for _, e := range v {
			n.Content = append(n.Content, written(e))
		}
		return n
	case string:
		n := &yaml.Node{}
		if err := n.Encode(v); err != nil || n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
			n = scalar(v)
			n.Style = yaml.DoubleQuotedStyle
		}
		return n
	default:
		return scalar(v)
	}
}

func byName(a, b string) int {
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
}
