// SPDX-License-Identifier: Apache-2.0

package strictyaml_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/strictyaml"
)

type thing struct {
	Kind  string            `yaml:"kind"`
	Name  string            `yaml:"name"`
	Sizes []int             `yaml:"sizes"`
	Open  bool              `yaml:"open"`
	Wait  time.Duration     `yaml:"wait"`
	Lid   *lid              `yaml:"lid"`
	Marks map[string]string `yaml:"marks"`
	Parts []lid             `yaml:"parts"`
}

type lid struct {
	Colours []string `yaml:"colours"`
	Screws  int      `yaml:"screws"`
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct{ name, text, problem string }{
		{"empty", "", "is empty: write an Thing"},
		{"only a comment", "# nothing\n", "is empty: write an Thing"},
		{"no YAML", "name: [\n", "does not parse: near line 1: a value is missing, or a list in [ ] or a mapping in { } has no end"},
		{"unknown field", "nmae: a\n", "has in line 1 the unknown field nmae: did you mean name?"},
		{"another case", "Name: a\n", "has in line 1 the unknown field Name: did you mean name?"},
		{"of another section", "name: a\nscrews: 4\n", "has in line 2 the unknown field screws: it belongs into section lid"},
		{"misspelt, of another section", "name: a\nscrew: 4\n", "has in line 2 the unknown field screw: did you mean screws in section lid?"},
		{"misspelt, of the file", "lid:\n  sizess: [1]\n", "has in line 2 the unknown field sizess in section lid: did you mean sizes at the top of the file?"},
		{"of the file, in a section", "lid:\n  sizes: [1]\n", "has in line 2 the unknown field sizes in section lid: it belongs to the top of the file"},
		{"of nothing", "lid:\n  handle: a\n", "has in line 2 the unknown field handle in section lid: known here are colours, screws"},
		{"hardly a word", "\"a\\n\\e b\": c\n", `has in line 1 the unknown field "a\n\x1b b": known here are kind, lid, marks, name, open, parts, sizes, wait`},
		{"unknown field of a list's element", "parts:\n- colours: [red]\n- colour: blue\n", "has in line 3 the unknown field colour in section parts[1]: did you mean colours?"},
		{"twice", "name: a\nname: b\n", "has in line 2 the field name, which is in line 1 already: remove one"},
		{"twice in a section", "lid: {screws: 4,\n  screws: 4}\n", "has in line 2 the field lid.screws, which is in line 1 already: remove one"},
		{"twice in a mapping", "marks:\n  a: b\n  a: c\n", "has in line 3 the field marks.a, which is in line 2 already: remove one"},
		{"a mapping for a text", "name: {a: b}\n", "has in line 1 a mapping for name: write one text"},
		{"a text for a list", "lid:\n  colours: red\n", `has in line 2 "red" for lid.colours: write a list, [red]`},
		{"a sentence for a list", "lid:\n  colours: red, blue\n", `has in line 2 "red, blue" for lid.colours: write a list, such as [a, b]`},
		{"an empty text for a list", "sizes: ''\n", "has in line 1 an empty text for sizes: write a list, such as [a, b]"},
		{"a list of lists", "lid: {colours: [red, [blue]]}\n", "has in line 1 a list for lid.colours[1]: write one text"},
		{"a list for a section", "lid: [red]\n", "has in line 1 a list for lid: write a section with the fields colours, screws"},
		{"a text for a mapping", "marks: a\n", `has in line 1 "a" for marks: write a mapping, such as {name: value}`},
		{"a mapping in a mapping", "marks: {a: {b: c}}\n", "has in line 1 a mapping for marks.a: write one text"},
		{"a text for a number", "lid: {screws: four}\n", `has in line 1 "four" for lid.screws: write a number`},
		{"a text for a switch", "open: maybe\n", `has in line 1 "maybe" for open: write true or false`},
		{"a text for a duration", "wait: long\n", `has in line 1 "long" for wait: write a duration, such as 8s`},
		{"through an alias", "marks: &a {b: c}\nlid: *a\n", "has in line 1 the unknown field b in section lid: known here are colours, screws"},
		{"merged, unknown field", "marks: &a {b: c}\nlid:\n  <<: *a\n", "has in line 1 the unknown field b in section lid: known here are colours, screws"},
		{"merged from several", "lid:\n  <<: [{screws: 4}, {handle: a}]\n", "has in line 2 the unknown field handle in section lid: known here are colours, screws"},
		{"merged, and nothing to merge", "lid:\n  <<: 4\n", "does not parse: << takes over something that is no mapping: give it a mapping's alias"},
		{"merged into itself", "lid: &a\n  <<: *a\n", "does not parse: anchor 'a' value contains itself"},
		{"nothing in a list", "lid:\n  colours:\n  - red\n  -\n", "has in line 4 nothing for lid.colours[1]: write it, or remove the dash"},
		{"null in a list", "sizes: [1, null]\n", "has in line 1 nothing for sizes[1]: write it, or remove the dash"},
		{"nothing in a list of sections", "parts:\n- ~\n- screws: 4\n", "has in line 2 nothing for parts[0]: write it, or remove the dash"},
		{"a text for all", "name\n", "is a text: write an Thing"},
		{"a list for all", "- name: a\n", "is a list: write an Thing"},
		{"two documents", "name: a\n---\nname: b\n", "has more than one document: write one Thing"},
		{"another kind", "kind: Other\nspec: {}\n", `has kind "Other": write Thing`},
		{"a ConfigMap", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  thing.yaml: |\n    name: a\n", "is the whole ConfigMap: give a file with what its key thing.yaml holds"},
		{"a ConfigMap without anything", "apiVersion: v1\nkind: ConfigMap\n", `has kind "ConfigMap": write Thing`},
		{"a template", "name: a\nlid: {{ .Values.lid }}\n", "has {{ outside of quotes (line 2): if it is a template, render it first, as 'helm template' does, else write quotes"},
		{"a template with a branch", "name: a\n{{- if .Values.open }}\nopen: true\n{{- end }}\n", "has {{ outside of quotes (line 2): if it is a template, render it first, as 'helm template' does, else write quotes"},
		{"JSON, unknown field", `{"nmae": "a"}`, "has in line 1 the unknown field nmae: did you mean name?"},
		{"JSON, null in a list", `{"sizes": [null]}`, "has in line 1 nothing for sizes[0]: write it, or remove the dash"},
		{"JSON, twice", "{\"name\": \"a\",\n\t\"name\": \"b\"}", `has in line 1 the field name, which is in line 1 already: remove one`},
		{"nothing for each", "name:\nlid:\nmarks:\nopen:\n", ""},
		{"merged", "marks: &a {b: c}\nlid:\n  <<: {screws: 4}\n", ""},
		{"YAML", "name: a/b\nsizes: [1, 2]\n", ""},
		{"JSON", "{\n\t\"name\": \"a\\/b\",\n\t\"sizes\": [1, 2]\n}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got thing
			problem := ""
			if err := strictyaml.Decode([]byte(tc.text), "Thing", &got); err != nil {
				problem = err.Error()
			}
			if problem != tc.problem {
				t.Fatalf("got  %s\nwant %s", problem, tc.problem)
			}
			if tc.problem == "" && strings.Contains(tc.text, "sizes") && (got.Name != "a/b" || len(got.Sizes) != 2) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// TestDecodeStated: a field without a value is a mistake, also where Decode accepts it.
func TestDecodeStated(t *testing.T) {
	for _, tc := range []struct{ name, text, problem string }{
		{"nothing", "name: a\nsizes:\n", "has in line 2 nothing for sizes: write a value, or remove the field"},
		{"null", "lid: {screws: ~}\n", "has in line 1 nothing for lid.screws: write a value, or remove the field"},
		{"null in a mapping", "marks: {a: null}\n", "has in line 1 nothing for marks.a: write a value, or remove the field"},
		{"merged", "marks: &a {b: c}\nlid:\n  <<: {screws: }\n", "has in line 3 nothing for lid.screws: write a value, or remove the field"},
		{"JSON", `{"lid": null}`, "has in line 1 nothing for lid: write a value, or remove the field"},
		{"unknown field", "nmae: a\n", "has in line 1 the unknown field nmae: did you mean name?"},
		{"values", "name: ''\nsizes: []\nlid: {}\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got thing
			problem := ""
			if err := strictyaml.DecodeStated([]byte(tc.text), "Thing", &got); err != nil {
				problem = err.Error()
			}
			if problem != tc.problem {
				t.Fatalf("got  %s\nwant %s", problem, tc.problem)
			}
			if err := strictyaml.Decode([]byte(tc.text), "Thing", &got); err != nil && tc.name != "unknown field" {
				t.Errorf("Decode refuses it too: %v", err)
			}
		})
	}
}
