// SPDX-License-Identifier: Apache-2.0

// Package strictyaml decodes a configuration file, YAML or JSON, of which every
// part has to mean something: unknown fields, fields in another case, fields that
// are there twice, second documents and values of the wrong kind are mistakes. What
// is wrong it says in one line, in words of the file and not of our types.
package strictyaml

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
)

// Decode decodes the one document in data into what into points to, a struct with
// yaml tags. problem is empty where it could, else the end of a sentence that begins
// with the file's name. kind is what the document should be.
func Decode(data []byte, kind string, into any) (problem string) {
	if json.Valid(data) {
		data = jsonAsYAML(data)
	}
	root := parse(data)
	if problem := anotherKind(root, kind); problem != "" {
		return problem
	}
	t := reflect.TypeOf(into).Elem()
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); errors.Is(err, io.EOF) {
		return "is empty: write an " + kind
	} else if err != nil {
		if problem := judge(root, t, kind); problem != "" && yamlsyntax.Template(data) == 0 {
			return problem
		}
		return yamlsyntax.Problem(err, data)
	}
	if problem := judge(root, t, kind); problem != "" {
		return problem // which the decoder passes over
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return "has more than one document: write one " + kind
	}
	return ""
}

// parse returns the first document of data, without anything where it does not parse.
func parse(data []byte) *yaml.Node {
	root := &yaml.Node{}
	if yaml.Unmarshal(data, root) != nil || len(root.Content) == 0 {
		return &yaml.Node{} // the decoder says why
	}
	return root.Content[0]
}

// anotherKind says what a document is instead of a kind, if it says so itself: then its
// fields are not to be judged.
func anotherKind(document *yaml.Node, kind string) string {
	var object struct {
		Kind string         `yaml:"kind"`
		Data map[string]any `yaml:"data"`
	}
	if err := document.Decode(&object); err != nil || object.Kind == "" || object.Kind == kind {
		return "" // what does not fit is explained later
	}
	if object.Kind != "ConfigMap" && object.Kind != "Secret" || len(object.Data) == 0 {
		return fmt.Sprintf("has kind %q: write %s", object.Kind, kind)
	}
	keys := slices.Sorted(maps.Keys(object.Data))
	return fmt.Sprintf("is the whole %s: give a file with what its key %s holds", object.Kind, strings.Join(keys, " or "))
}

// judge says what of a document does not become a value of type t.
func judge(document *yaml.Node, t reflect.Type, kind string) string {
	if document.IsZero() {
		return ""
	}
	return place{kind: kind}.mismatch(document, t)
}

// jsonAsYAML makes of valid JSON what the YAML decoder takes, which alone is
// strict about fields, their case and duplicates. JSON may be indented with
// tabs, which YAML forbids, and may write \/ for /, which go.yaml.in/yaml does
// not know.
func jsonAsYAML(data []byte) []byte {
	var compact bytes.Buffer
	if err := json.Compact(&compact, data); err != nil {
		return data
	}
	var out []byte
	for text := compact.Bytes(); len(text) > 0; {
		n := 1
		if text[0] == '\\' && len(text) > 1 {
			n = 2
		}
		if string(text[:n]) == `\/` {
			out = append(out, '/')
		} else {
			out = append(out, text[:n]...)
		}
		text = text[n:]
	}
	return out
}
