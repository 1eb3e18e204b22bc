// SPDX-License-Identifier: Apache-2.0

package strictyaml_test

import (
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/strictyaml"
)

type thing struct {
	Name  string `yaml:"name"`
	Sizes []int  `yaml:"sizes"`
}

func TestDecode(t *testing.T) {
	for _, tc := range []struct{ name, text, problem string }{
		{"empty", "", "is empty: write an Thing"},
		{"only a comment", "# nothing\n", "is empty: write an Thing"},
		{"no YAML", "name: [\n", "does not parse: line 1: did not find expected node content"},
		{"unknown field", "nmae: a\n", "does not parse: line 1: unknown field nmae"},
		{"another case", "Name: a\n", "does not parse: line 1: unknown field Name"},
		{"twice", "name: a\nname: b\n", `does not parse: line 2: mapping key "name" already defined at line 1`},
		{"wrong kind", "name: {a: b}\n", "does not parse: line 1: wrong kind of value: !!map"},
		{"two documents", "name: a\n---\nname: b\n", "has more than one document: write one Thing"},
		{"JSON, unknown field", `{"nmae": "a"}`, "does not parse: line 1: unknown field nmae"},
		{"JSON, twice", "{\"name\": \"a\",\n\t\"name\": \"b\"}", `does not parse: line 1: mapping key "name" already defined at line 1`},
		{"YAML", "name: a/b\nsizes: [1, 2]\n", ""},
		{"JSON", "{\n\t\"name\": \"a\\/b\",\n\t\"sizes\": [1, 2]\n}", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got thing
			if problem := strictyaml.Decode([]byte(tc.text), "Thing", &got); problem != tc.problem {
				t.Fatalf("got  %s\nwant %s", problem, tc.problem)
			}
			if tc.problem == "" && (got.Name != "a/b" || len(got.Sizes) != 2) {
				t.Errorf("got %+v", got)
			}
		})
	}
}
