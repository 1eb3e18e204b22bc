// SPDX-License-Identifier: Apache-2.0

package helm

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// schema is the part of a JSON schema that the tests use.
type schema struct {
	Ref         string             `json:"$ref"`
	Properties  map[string]*schema `json:"properties"`
	Definitions map[string]*schema `json:"definitions"`
	Items       *schema            `json:"items"`
}

// readSchema returns the schema of a chart's values.
func readSchema(t *testing.T, folder string) *schema {
	t.Helper()
	root := &schema{}
	if err := json.Unmarshal([]byte(read(t, folder+"/values.schema.json")), root); err != nil {
		t.Fatal(err)
	}
	return root
}

// at returns the schema of a value.
func (s *schema) at(path string, root *schema) *schema {
	for name := range strings.SplitSeq(path, ".") {
		s = s.Properties[name].resolve(root)
	}
	return s
}

func (s *schema) resolve(root *schema) *schema {
	if name, ok := strings.CutPrefix(s.Ref, "#/definitions/"); ok {
		return root.Definitions[name]
	}
	return s
}

// leaves returns the paths of all values that a schema allows, and those of the objects
// around them.
func (s *schema) leaves(path string, root *schema) (leaves, inner []string) {
	s = s.resolve(root)
	if len(s.Properties) == 0 {
		return []string{path}, nil
	}
	if path != "" {
		inner = []string{path}
	}
	for name, property := range s.Properties {
		l, i := property.leaves(strings.TrimPrefix(path+"."+name, "."), root)
		leaves, inner = append(leaves, l...), append(inner, i...)
	}
	return leaves, inner
}

// TestReadmeHasEveryValue: the table has every value that the schema allows, or the
// object around it, and nothing else. The defaults are those of values.yaml.
func TestReadmeHasEveryValue(t *testing.T) {
	for _, folder := range charts() {
		t.Run(filepath.Base(folder), func(t *testing.T) { checkReadme(t, folder) })
	}
}

func checkReadme(t *testing.T, folder string) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(read(t, folder+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	root := readSchema(t, folder)
	leaves, inner := root.leaves("", root)
	rows := map[string]string{}
	for line := range strings.SplitSeq(read(t, folder+"/README.md"), "\n") {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 3 {
			t.Errorf("this row has %d cells, not 3: %s", len(cells), line)
			continue
		}
		name := strings.Trim(cells[0], " `")
		rows[name] = strings.Trim(cells[1], " `")
		if !slices.Contains(leaves, name) && !slices.Contains(inner, name) {
			t.Errorf("README.md has %s, which the schema refuses", name)
		}
		checkDefault(t, values, name, rows[name])
	}
	for _, leaf := range leaves {
		covered := leaf
		for _, ok := rows[covered]; !ok && covered != ""; _, ok = rows[covered] {
			covered = covered[:max(strings.LastIndex(covered, "."), 0)]
		}
		if covered == "" {
			t.Errorf("README.md does not have %s", leaf)
		}
	}
}

// checkDefault compares README.md with values.yaml. An empty cell and "" are the same.
func checkDefault(t *testing.T, values object, name, cell string) {
	t.Helper()
	var documented any
	if err := yaml.Unmarshal([]byte(cell), &documented); err != nil {
		t.Errorf("README.md: the default of %s is no YAML: %v", name, err)
	}
	real := values.at(strings.Split(name, ".")...)
	if real == "" {
		real = nil
	}
	if !reflect.DeepEqual(documented, real) {
		t.Errorf("README.md says that the default of %s is %q, it is %v", name, cell, real)
	}
}
