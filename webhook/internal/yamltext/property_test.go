// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	kubeyaml "sigs.k8s.io/yaml"
)

// parse parses a text as package webhook/manifest does.
func parse(text []byte) (*Document, error) {
	d := &Document{Text: text, Root: &yaml.Node{}}
	if err := yaml.Unmarshal(text, d.Root); err != nil {
		return nil, err
	}
	asJSON, err := kubeyaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber()
	return d, decoder.Decode(&d.Value)
}

// randomValue returns a random JSON value.
func randomValue(random *rand.Rand, depth int) any {
	switch kind := random.IntN(8); {
	case depth > 0 && kind < 3:
		m := map[string]any{}
		for range random.IntN(4) {
			m[[]string{"name", "containers", "initContainers", "a", "b c", "1", "~/x"}[random.IntN(7)]] = randomValue(random, depth-1)
		}
		return m
	case depth > 0 && kind < 6:
		l := []any{}
		for range random.IntN(5) {
			l = append(l, randomValue(random, depth-1))
		}
		return l
	case kind == 6:
		return nil
	default:
		texts := []string{"x", "", "on", "1", "a: b", "# no", "two\nlines\n", "one\n\n", "two\n\nparts", " blank ", "it's \"so\"", "é", "- a", "&a", "{}", "x\n  y\n", "long " + strings.Repeat("word ", 30)}
		values := []any{true, json.Number("1"), json.Number("1.5"), json.Number("-30000")}
		if i := random.IntN(len(texts) + len(values)); i < len(texts) {
			return texts[i]
		} else {
			return values[i-len(texts)]
		}
	}
}

// writeRandomly writes a value in a style that a person might use.
func writeRandomly(t testing.TB, random *rand.Rand, value any) []byte {
	t.Helper()
	if random.IntN(4) == 0 {
		text, err := json.MarshalIndent(value, "", strings.Repeat(" ", random.IntN(4)))
		if random.IntN(2) == 0 {
			text, err = json.Marshal(value)
		}
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	root := treeOf(value)
	restyle(random, root)
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2 + random.IntN(4))
	if random.IntN(2) == 0 {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(root); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if random.IntN(3) == 0 {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	if random.IntN(3) == 0 && !strings.ContainsAny(text, "|>") { // a block scalar at the end needs its line break
		text = strings.TrimRight(text, "\r\n")
	}
	return []byte(text)
}

// treeOf returns a tree of a value.
func treeOf(value any) *yaml.Node {
	switch v := value.(type) {
	case map[string]any:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, key := range sortedKeys(v) {
			n.Content = append(n.Content, nodeOf(key), treeOf(v[key]))
		}
		return n
	case []any:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for _, element := range v {
			n.Content = append(n.Content, treeOf(element))
		}
		return n
	default:
		return nodeOf(value)
	}
}

// restyle gives some nodes another style, and a comment.
func restyle(random *rand.Rand, n *yaml.Node) {
	for i, child := range n.Content {
		isKey := n.Kind == yaml.MappingNode && i%2 == 0
		if random.IntN(4) == 0 {
			child.HeadComment = "# above"
		}
		if random.IntN(4) == 0 && child.Kind == yaml.ScalarNode && !isKey {
			child.LineComment = "# behind"
		}
		switch {
		case child.Kind != yaml.ScalarNode:
			if random.IntN(5) == 0 {
				child.Style = yaml.FlowStyle
			}
		case child.Tag == "!!str":
			styles := []yaml.Style{0, yaml.SingleQuotedStyle, yaml.DoubleQuotedStyle}
			if !isKey {
				styles = append(styles, yaml.LiteralStyle, yaml.FoldedStyle)
			}
			child.Style = styles[random.IntN(len(styles))]
		}
		restyle(random, child)
	}
}

// TestEveryTextCanSayEverything: any document can be edited to any other value.
func TestEveryTextCanSayEverything(t *testing.T) {
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 0))
		from := map[string]any{"root": randomValue(random, 4), "last": randomValue(random, 2)}
		to := map[string]any{"root": randomValue(random, 4), "last": randomValue(random, 2)}
		if random.IntN(2) == 0 {
			to = changed(random, from).(map[string]any)
			to["last"] = from["last"] // a root is never empty
		}
		text := writeRandomly(t, random, from)
		d, err := parse(text)
		if err != nil {
			continue // the library does not read what it has written
		}
		edited, err := d.Edit(to)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		again, err := parse(edited.Text)
		if err != nil {
			t.Fatalf("seed %d: %v:\n%s\nbecame:\n%s", seed, err, text, edited.Text)
		}
		if diff := cmp.Diff(any(to), again.Value); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s\nof:\n%s\nbecame:\n%s", seed, diff, text, edited.Text)
		}
	}
}

// changed returns a value with a few changes.
func changed(random *rand.Rand, value any) any {
	switch v := value.(type) {
	case map[string]any:
		to := map[string]any{}
		for key, child := range v {
			if random.IntN(8) > 0 {
				to[key] = changed(random, child)
			}
		}
		if random.IntN(4) == 0 {
			to["new"] = randomValue(random, 2)
		}
		return to
	case []any:
		to := []any{}
		for _, child := range v {
			if random.IntN(8) > 0 {
				to = append(to, changed(random, child))
			}
		}
		if random.IntN(4) == 0 {
			to = append(to, randomValue(random, 2))
		}
		if random.IntN(4) == 0 {
			to = append([]any{randomValue(random, 2)}, to...)
		}
		if random.IntN(8) == 0 {
			random.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
		}
		return to
	default:
		if random.IntN(8) == 0 {
			return randomValue(random, 2)
		}
		return value
	}
}

// withSources returns a value in which Sources replace values at their paths.
func withSources(value any, sources []Source) any {
	for _, s := range sources {
		value = withValueAt(value, s.Path, s)
	}
	return value
}

// withValueAt returns a value with another one at a path.
func withValueAt(value any, path []string, to any) any {
	if len(path) == 0 {
		return to
	}
	switch v := value.(type) {
	case map[string]any:
		v = maps.Clone(v)
		v[path[0]] = withValueAt(v[path[0]], path[1:], to)
		return v
	case []any:
		i, _ := strconv.Atoi(path[0])
		v = slices.Clone(v)
		v[i] = withValueAt(v[i], path[1:], to)
		return v
	default:
		return value
	}
}

// extended returns a value with additions, and without removals.
func extended(random *rand.Rand, value any) any {
	switch v := value.(type) {
	case map[string]any:
		to := map[string]any{}
		for key, child := range v {
			to[key] = extended(random, child)
		}
		if random.IntN(4) == 0 {
			to[[]string{"new", "first"}[random.IntN(2)]] = randomValue(random, 2)
		}
		return to
	case []any:
		to := []any{}
		if random.IntN(2) == 0 { // elements without names could not be matched again
			for _, child := range v {
				to = append(to, extended(random, child))
			}
			return to
		}
		if random.IntN(2) == 0 {
			to = append(to, map[string]any{"name": "newer"})
		}
		to = append(to, v...)
		if random.IntN(2) == 0 {
			to = append(to, map[string]any{"name": "new", "a": randomValue(random, 1)})
		}
		return to
	case nil:
		if random.IntN(2) == 0 {
			return []any{"new"}
		}
	}
	return value
}

// TestWhatIsInsertedComesOut: after inserting and removing, the bytes are the same as
// before.
func TestWhatIsInsertedComesOut(t *testing.T) {
	before := map[string]string{"first": "containers"}
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 1))
		text := writeRandomly(t, random, map[string]any{"root": randomValue(random, 4), "last": randomValue(random, 2)})
		d, err := parse(text)
		if err != nil {
			continue // the library does not read what it has written
		}
		d.Before = before
		more, err := d.Edit(extended(random, d.Value))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		grew, err := parse(more.Text)
		if err != nil {
			t.Fatalf("seed %d: %v:\n%s\nbecame:\n%s", seed, err, text, more.Text)
		}
		back, err := grew.Edit(withSources(d.Value, more.Replaced))
		if err != nil {
			t.Fatalf("seed %d: %v:\n%s\nbecame:\n%s", seed, err, text, more.Text)
		}
		if diff := cmp.Diff(string(text), string(back.Text)); diff != "" {
			t.Fatalf("seed %d (-before +after):\n%s\nof:\n%s", seed, diff, more.Text)
		}
	}
}
