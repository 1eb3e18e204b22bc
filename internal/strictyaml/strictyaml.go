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
	"io"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// Decode decodes the one document in data into what into points to, a struct with
// yaml tags. problem is empty where it could, else the end of a sentence that begins
// with the file's name. kind is what the document should be.
func Decode(data []byte, kind string, into any) (problem string) {
	if json.Valid(data) {
		data = jsonAsYAML(data)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); errors.Is(err, io.EOF) {
		return "is empty: write an " + kind
	} else if err != nil {
		return "does not parse: " + sentence(err)
	}
	if err := decoder.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return "has more than one document: write one " + kind
	}
	return ""
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

// sentence makes one line of yaml's several, in words of the file and not
// of our types.
func sentence(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	var mismatch *yaml.TypeError
	if errors.As(err, &mismatch) && len(mismatch.Errors) > 0 {
		text = mismatch.Errors[0]
		if known, _, ok := strings.Cut(text, " not found in type "); ok {
			text = strings.Replace(known, ": field ", ": unknown field ", 1)
		} else if known, _, ok := strings.Cut(text, " into "); ok {
			text = strings.Replace(known, ": cannot unmarshal ", ": wrong kind of value: ", 1)
		}
	}
	// yaml quotes the file, which may hold anything.
	return strings.Join(strings.FieldsFunc(text, unicode.IsControl), " ")
}
