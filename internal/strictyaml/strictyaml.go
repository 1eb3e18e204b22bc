// SPDX-License-Identifier: Apache-2.0

// Package strictyaml decodes a configuration file, YAML or JSON, in which every part
// must have a meaning. Unknown fields, fields in another case, duplicate fields, second
// documents and values of the wrong kind are mistakes.
//
// It describes a mistake in one line, in the file's words and not with the names of our
// types. It never reads files.
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

// Decode decodes the one document in data into what into points to, a struct with yaml
// tags. The text of an error is the end of a sentence that begins with the file's name.
// kind is the kind that the document should have.
func Decode(data []byte, kind string, into any) error {
	if problem := decode(data, kind, into, false); problem != "" {
		return errors.New(problem)
	}
	return nil
}

// DecodeStated is Decode for files in which a field without a value is a mistake too.
// Decode reads it as a field that was left out.
func DecodeStated(data []byte, kind string, into any) error {
	if problem := decode(data, kind, into, true); problem != "" {
		return errors.New(problem)
	}
	return nil
}

// decode is Decode, or DecodeStated if stated is true. It returns the text of the error.
func decode(data []byte, kind string, into any, stated bool) string {
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
		if problem := findMismatch(root, t, kind, stated); problem != "" && yamlsyntax.Template(data) == 0 {
			return problem
		}
		return yamlsyntax.Problem(err, data)
	}
	if problem := findMismatch(root, t, kind, stated); problem != "" {
		return problem // which the decoder accepts
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return "has more than one document: write one " + kind
	}
	return ""
}

// parse returns the first document of data, or an empty node if data does not parse.
func parse(data []byte) *yaml.Node {
	root := &yaml.Node{}
	if yaml.Unmarshal(data, root) != nil || len(root.Content) == 0 {
		return &yaml.Node{} // the decoder returns the reason
	}
	return root.Content[0]
}

// anotherKind reports that a document has another kind, if it says so itself. Then its
// fields are not checked.
func anotherKind(document *yaml.Node, kind string) string {
	var object struct {
		Kind string         `yaml:"kind"`
		Data map[string]any `yaml:"data"`
	}
	if err := document.Decode(&object); err != nil || object.Kind == "" || object.Kind == kind {
		return "" // other mistakes are explained later
	}
	if object.Kind != "ConfigMap" && object.Kind != "Secret" || len(object.Data) == 0 {
		return fmt.Sprintf("has kind %q: write %s", object.Kind, kind)
	}
	keys := slices.Sorted(maps.Keys(object.Data))
	return fmt.Sprintf("is the whole %s: give a file with what its key %s holds", object.Kind, strings.Join(keys, " or "))
}

// findMismatch returns why a document cannot become a value of type t.
func findMismatch(document *yaml.Node, t reflect.Type, kind string, stated bool) string {
	if document.IsZero() {
		return ""
	}
	return place{kind: kind, stated: stated}.mismatch(document, t)
}

// jsonAsYAML converts valid JSON to text that the YAML decoder accepts, because only
// that decoder is strict about fields, their case and duplicates. JSON may be indented
// with tabs, which YAML forbids. It may write \/ for /, which go.yaml.in/yaml does not
// know.
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
