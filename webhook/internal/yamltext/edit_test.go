// SPDX-License-Identifier: Apache-2.0

package yamltext

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEdit: the wanted values are written as YAML, for the reader.
func TestEdit(t *testing.T) {
	tests := []struct {
		name, text, say, want string
	}{
		{"nothing", "a:   1 # one\n", "a: 1", "a:   1 # one\n"},
		{"a scalar", "a:   1 # one\nb: 2\n", "{a: 3, b: 2}", "a:   3 # one\nb: 2\n"},
		{"a quoted one", "a: 'it''s' # it\nb: \"\\\"\"\n", "{a: x, b: z}", "a: x # it\nb: z\n"},
		{"one in several lines", "a: one\n  two # c\nb: 2\n", "{a: x, b: 2}", "a: x # c\nb: 2\n"},
		{"a text that needs quotes", "a: 1\n", "{a: 'yes'}", "a: \"yes\"\n"},
		{"a value for nothing", "a: # none\nb: 2\n", "{a: x, b: 2}", "a: x # none\nb: 2\n"},
		{"a new key", "a:\n    x: 1\n\n# b\nb: 2\n", "{a: {x: 1, w: {z: 3}}, b: 2}", "a:\n    x: 1\n    w:\n        z: 3\n\n# b\nb: 2\n"},
		{"a new key below a comment", "a:\n  x: 1\n  # y: 2\nb: 2\n", "{a: {x: 1}, b: 2, c: 3}", "a:\n  x: 1\n  # y: 2\nb: 2\nc: 3\n"},
		{"behind what a comment is about", "a:\n  x: 1\n  # y: 2\n", "{a: {x: 1}, b: 2}", "a:\n  x: 1\n  # y: 2\nb: 2\n"},
		{"before another", "x:\n  # about last\n  last: 1\n", "x: {first: 0, last: 1}", "x:\n  first: 0\n  # about last\n  last: 1\n"},
		{"no key any more", "a: 1 # one\nb: 2\n", "b: 2", "b: 2\n"},
		{"nor its comments below", "a: 1\nb:\n  c: 2\n  # d: 3\n# the end\n", "a: 1", "a: 1\n# the end\n"},
		{"no line break at the end", "a: 1", "{a: 1, b: 2}", "a: 1\nb: 2"},
		{"nor behind a block scalar", "a: |\n  x", "{a: x, b: 2}", "b: 2\na: |\n  x"},
		{"blank lines of a block scalar", "a: |+\n  x\n\n", "{a: \"x\\n\\n\", b: 2}", "a: |+\n  x\n\nb: 2\n"},
		{"Windows' line breaks", "a:\r\n- 1\r\n", "a: [1, {b: 2}]", "a:\r\n- 1\r\n- b: 2\r\n"},
		{"a list at its key", "a:\n- 1\nb:\n  c: [1]\n", "{a: [1], b: {c: [1], d: [2]}}", "a:\n- 1\nb:\n  c: [1]\n  d:\n  - 2\n"},
		{"a list below its key", "a:\n  - 1\nb:\n  c: [1]\n", "{a: [1], b: {c: [1], d: [2]}}", "a:\n  - 1\nb:\n  c: [1]\n  d:\n    - 2\n"},
		{"an element's distance", "a:\n-   name: x\n    b: 1\n", "a: [{name: x, b: 1}, {name: z, b: 2}]", "a:\n-   name: x\n    b: 1\n-   name: z\n    b: 2\n"},
		{"an element by its name", "a:\n- name: x # x\n  b: 1 # one\n- name: y\n", "a: [{name: new}, {name: x, b: 2}]", "a:\n- name: new\n- name: x # x\n  b: 2 # one\n"},
		{"an element that moves", "a:\n- name: x # x\n- name: y # y\n- name: z # z\n", "a: [{name: z}, {name: x}, {name: y}]", "a:\n- name: z # z\n- name: x # x\n- name: y # y\n"},
		{"an element without a name", "a:\n- x: 1 # one\n- x: 2 # two\n", "a: [{x: 1, z: 3}, {x: 2}]", "a:\n- x: 1 # one\n  z: 3\n- x: 2 # two\n"},
		{"lists in lists", "a:\n- - 1\n  - 2\n", "a: [[0, 1], [3]]", "a:\n- - 0\n  - 1\n- - 3\n"},
		{"an empty list", "# above\na: [] # behind\nb: 1\n", "{a: [1], b: 1}", "# above\na: # behind\n- 1\nb: 1\n"},
		{"an empty list with a comment in it", "a: [ # none\n  ]\n", "a: [1]", "a: [ # none\n  1]\n"},
		{"no element any more", "a: # behind\n- 1\nb: 1\n", "{a: [], b: 1}", "a: [] # behind\nb: 1\n"},
		{"braces", "{a: 1, b: [x]} # c\n", "{a: 1, b: [x, z], c: {d: 'e, f'}}", "{a: 1, b: [x, z], c: {d: 'e, f'}} # c\n"},
		{"no key in braces", "{ a: 1 , b: 2 , c: 3 }\n", "b: 2", "{ b: 2 }\n"},
		{"braces in lines", "a: {\n  b: 1, # one\n}\n", "a: {b: 1, c: {d: 2}}", "a: {\n  b: 1,\n  c: {\n    d: 2\n  }, # one\n}\n"},
		{"JSON", "{\"a\":1,\"b\":[]}", "{a: 1, b: [x], c: {d: '<é>'}}", "{\"a\":1,\"b\":[\"x\"],\"c\":{\"d\":\"<é>\"}}"},
		{"JSON in lines", "{\n\t\"a\": 1\n}\n", "{a: 1, b: [x]}", "{\n\t\"a\": 1,\n\t\"b\": [\n\t\t\"x\"\n\t]\n}\n"},
		{"an alias", "a: &a {b: 1}\nc: *a # same\n", "{a: {b: 1}, c: {b: 1, d: 2}}", "a: &a {b: 1}\nc: # same\n  b: 1\n  d: 2\n"},
		{"an alias that says it already", "a: &a {b: 1}\nc: *a\n", "{a: {b: 2}, c: {b: 2}}", "a: &a {b: 2}\nc: *a\n"},
		{"a merged key", "a: &a {b: {c: 1}}\nd:\n  <<: *a\n", "{a: {b: {c: 1}}, d: {b: {c: 1, e: 2}}}", "a: &a {b: {c: 1}}\nd:\n  <<: *a\n  b:\n    c: 1\n    e: 2\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := parse([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			d.Before = map[string]string{"first": "last"}
			say, err := parse([]byte(tt.say))
			if err != nil {
				t.Fatal(err)
			}
			edited, err := d.Edit(say.Value)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, string(edited.Text)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestSourcesComeBack: a text that Edit has replaced is written back if its Source is
// part of the wanted value.
func TestSourcesComeBack(t *testing.T) {
	const begin = "a: &a {x: 1}\nb:\n"
	for _, line := range []string{
		"  v:", "  v: ", "  v: []", "  v:   [ ] # none", "  v: null # none", "  v: ~", "  v:\n    []", "  v: [ # none\n  ]",
		"  v: *a", "  v:  *a # same", "  <<: {v: {x: 1}}", "  w: {v: }", "  w: {v: []}", "  w: [{v: null}]", "  w: [*a]", "  w:\n  - *a", "  v: !!map {}",
	} {
		text := begin + line + "\n  z: 1\n"
		d, err := parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		edited, err := d.Edit(extendedValue(d.Value))
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if len(edited.Replaced) != 1 {
			t.Errorf("%q: %d Sources of\n%s", line, len(edited.Replaced), edited.Text)
			continue
		}
		again, err := parse(edited.Text)
		if err != nil {
			t.Errorf("%q: %v in\n%s", line, err, edited.Text)
			continue
		}
		if diff := cmp.Diff(extendedValue(d.Value), again.Value); diff != "" {
			t.Errorf("%q says something else (-want +got):\n%s", line, diff)
		}
		back, err := again.Edit(withSources(d.Value, edited.Replaced))
		if err != nil {
			t.Errorf("%q: %v", line, err)
			continue
		}
		if diff := cmp.Diff(text, string(back.Text)); diff != "" {
			t.Errorf("%q does not come back (-want +got):\n%s\nof\n%s", line, diff, edited.Text)
		}
	}
}

// extendedValue returns a value in which each v, and each element of w, has something
// more.
func extendedValue(value any) any {
	with := func(child any) any {
		if m, ok := child.(map[string]any); ok && len(m) > 0 && m["v"] == nil {
			return map[string]any{"x": m["x"], "new": "n"}
		}
		if _, ok := child.(map[string]any); ok {
			return map[string]any{"new": "n"}
		}
		return []any{map[string]any{"new": "n"}}
	}
	b := value.(map[string]any)["b"].(map[string]any)
	to := map[string]any{}
	for key, child := range b {
		to[key] = child
	}
	if v, ok := b["v"]; ok {
		to["v"] = with(v)
	}
	switch w := b["w"].(type) {
	case map[string]any:
		to["w"] = map[string]any{"v": with(w["v"])}
	case []any:
		if m, ok := w[0].(map[string]any); ok && len(m) == 1 && m["x"] == nil {
			to["w"] = []any{map[string]any{"v": with(m["v"])}}
		} else {
			to["w"] = []any{with(w[0])}
		}
	}
	return map[string]any{"a": value.(map[string]any)["a"], "b": to}
}
