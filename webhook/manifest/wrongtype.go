// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/yamlsyntax"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// seeKubectl is the way out where a manifest is not what Kubernetes takes.
const seeKubectl = "'kubectl explain' shows what belongs there"

// wrongKind says why a pod template does not become its Go type, in words of the
// manifest. path is the template's in the object.
func (o *object) wrongKind(path []string, value map[string]any, err error) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case ok && mismatch.Field != "":
		return errors.New(o.misplaced(path, value, mismatch))
	case errors.Is(err, resource.ErrFormatWrong):
		if field, amount, found := badAmount(value, path); found {
			return fmt.Errorf("its %s %s is not an amount: write one such as 100m or 512Mi", field, amount)
		}
	}
	if bad, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("its %s has %q for a time: write one such as 2006-01-02T15:04:05Z", dotted(below(path, "metadata")), bad.Value)
	}
	return fmt.Errorf("its pod template cannot be read: %s: %s", yamlsyntax.OneLine(err.Error()), seeKubectl)
}

// misplaced names the value that is of another type than what belongs there, and the
// next step.
func (o *object) misplaced(path []string, template map[string]any, mismatch *json.UnmarshalTypeError) string {
	fields := inManifest(mismatch.Field)
	belongs := ofType(mismatch.Type)
	at, value, found := search{mismatch}.in(template, fields, nil)
	if !found {
		return fmt.Sprintf("its %s has a value of another type where %s belongs: %s", dotted(slices.Concat(path, fields)), belongs, seeKubectl)
	}
	where := dotted(slices.Concat(path, at)) + containerOf(template, at)
	written, read := o.source(slices.Concat(o.path, path, at)), inYAML(value)
	has, next, quotable := read, seeKubectl, cmp.Or(written, read)
	if _, ok := value.(bool); ok && len(at) > 0 && strings.HasPrefix(at[len(at)-1], "["+webhook.AnnotationPrefix) {
		quotable = read // "True" and "yes" are no values of ours
	}
	switch v := value.(type) {
	case bool, json.Number:
		if written != "" && written != read {
			has = fmt.Sprintf("%s, which YAML reads as %s,", written, read)
		}
		if mismatch.Type.Kind() == reflect.String {
			next = fmt.Sprintf("write %q", quotable)
		}
	case string:
		if fitsUnquoted(v, mismatch.Type) {
			next = fmt.Sprintf("write %s, without quotes", v)
		}
	}
	return fmt.Sprintf("its %s has %s where %s belongs: %s", where, has, belongs, next)
}

// fitsUnquoted reports whether a text would be of a type without its quotes.
func fitsUnquoted(text string, t reflect.Type) bool {
	switch ofType(t) {
	case "true or false":
		return text == "true" || text == "false"
	case "a whole number":
		_, err := strconv.ParseInt(text, 10, min(t.Bits(), 64))
		return err == nil
	default:
		return false
	}
}

// search finds the value that encoding/json could not use. It tells its field, without
// the indices of lists and the keys of mappings.
type search struct{ *json.UnmarshalTypeError }

// in looks below a value that is at a path. fields are those that are still to come.
func (s search) in(value any, fields, path []string) (at []string, found any, ok bool) {
	listBelongs := s.Type.Kind() == reflect.Slice
	if len(fields) == 0 && listBelongs && s.is(value) {
		return path, value, true
	}
	switch v := value.(type) {
	case []any:
		for i, child := range v {
			if at, found, ok = s.in(child, fields, below(path, element(i))); ok {
				return at, found, ok
			}
		}
	case map[string]any:
		if len(fields) > 0 {
			return s.in(v[fields[0]], fields[1:], below(path, fields[0]))
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if at, found, ok = s.in(v[key], nil, below(path, inPath(key))); ok {
				return at, found, ok
			}
		}
	}
	return path, value, len(fields) == 0 && s.is(value)
}

// is reports whether it could be the value.
func (s search) is(value any) bool {
	word, number, _ := strings.Cut(s.Value, " ")
	switch v := value.(type) {
	case map[string]any:
		return word == "object"
	case []any:
		return word == "array"
	case bool:
		return word == "bool"
	case string:
		return word == "string"
	case json.Number:
		return word == "number" && (number == "" || number == v.String())
	default:
		return false
	}
}

// inPath is a key as an element of a path: in brackets if it has what separates them.
func inPath(key string) string {
	if strings.ContainsAny(key, "./[]") {
		return "[" + key + "]"
	}
	return key
}

// containerOf names the container in which a path of a pod template is; empty for none.
func containerOf(template map[string]any, path []string) string {
	if len(path) < 3 || path[0] != "spec" || !strings.HasSuffix(strings.ToLower(path[1]), "containers") {
		return ""
	}
	name, _ := get(template, []string{"spec", path[1], strings.Trim(path[2], "[]"), "name"})
	if text(name) == "" {
		return ""
	}
	return fmt.Sprintf(" (container %s)", clip.Text(text(name), maxValue))
}

// source is how the scalar at a path is written in the document, without quotes; empty
// where aliases or merges hide it.
func (o *object) source(path []string) string {
	n := o.root
	if n != nil && n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	for _, name := range path {
		if n = childOf(n, name); n == nil {
			return ""
		}
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// childOf is what a node has at a key or an index; nil for none.
func childOf(n *yaml.Node, name string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; key == name || inPath(key) == name {
				return n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(strings.Trim(name, "[]")); err == nil && i < len(n.Content) {
			return n.Content[i]
		}
	}
	return nil
}

// inManifest is the path of a Go field in a manifest, which has no embedded structs.
func inManifest(field string) []string {
	return slices.DeleteFunc(strings.Split(field, "."), func(name string) bool {
		return name != "" && unicode.IsUpper(rune(name[0]))
	})
}

// inYAML is a value in words of a manifest.
func inYAML(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("the text %q", clip.Text(v, maxValue))
	default:
		return fmt.Sprint(v)
	}
}

// ofType is what belongs there.
func ofType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// isAmount reports whether the field at a path holds an amount of a resource.
func isAmount(path []string) bool {
	return len(path) > 1 && (slices.Contains([]string{"limits", "requests", "overhead"}, path[len(path)-2]) ||
		slices.Contains([]string{"sizeLimit", "divisor"}, path[len(path)-1]))
}

// badAmount finds the amount of a resource that is none.
func badAmount(value any, path []string) (field, amount string, found bool) {
	if isAmount(path) {
		text := fmt.Sprint(value)
		if _, err := resource.ParseQuantity(text); err != nil {
			return dotted(path), fmt.Sprintf("%q", text), true
		}
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if field, amount, found = badAmount(v[key], below(path, key)); found {
				return field, amount, found
			}
		}
	case []any:
		for i, child := range v {
			if field, amount, found = badAmount(child, below(path, element(i))); found {
				return field, amount, found
			}
		}
	}
	return "", "", false
}
