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

// seeKubectl is the next step if a manifest is not what Kubernetes accepts.
const seeKubectl = "'kubectl explain' shows what belongs there"

// wrongKind returns why a pod template cannot become its Go type, in the manifest's
// words. path is the template's path in the object.
func (o *object) wrongKind(path []string, value map[string]any, err error) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case ok && mismatch.Field != "":
		return errors.New(o.typeMismatch(path, value, mismatch))
	case errors.Is(err, resource.ErrFormatWrong):
		if field, amount, found := badAmount(value, path); found {
			return fmt.Errorf("its %s %s is not an amount: write one such as 100m or 512Mi", field, amount)
		}
	}
	if bad, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("its %s has %q for a time: write one such as 2006-01-02T15:04:05Z", dotted(childPath(path, "metadata")), bad.Value)
	}
	return fmt.Errorf("its pod template cannot be read: %s: %s", yamlsyntax.OneLine(err.Error()), seeKubectl)
}

// typeMismatch names the value of a wrong type, and the next step.
func (o *object) typeMismatch(path []string, template map[string]any, mismatch *json.UnmarshalTypeError) string {
	fields := manifestPath(mismatch.Field)
	belongs := typeInWords(mismatch.Type)
	at, value, found := search{mismatch}.find(template, fields, nil)
	if !found {
		return fmt.Sprintf("its %s has a value of another type where %s belongs: %s", dotted(slices.Concat(path, fields)), belongs, seeKubectl)
	}
	where := dotted(slices.Concat(path, at)) + containerOf(template, at)
	written, read := o.writtenScalar(slices.Concat(o.path, path, at)), valueInWords(value)
	has, next, quotable := read, seeKubectl, cmp.Or(written, read)
	if _, ok := value.(bool); ok && len(at) > 0 && strings.HasPrefix(at[len(at)-1], "["+webhook.AnnotationPrefix) {
		quotable = read // "True" and "yes" are not values of ours
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

// fitsUnquoted reports whether a text has the type t without its quotes.
func fitsUnquoted(text string, t reflect.Type) bool {
	switch typeInWords(t) {
	case "true or false":
		return text == "true" || text == "false"
	case "a whole number":
		_, err := strconv.ParseInt(text, 10, min(t.Bits(), 64))
		return err == nil
	default:
		return false
	}
}

// search finds the value that encoding/json could not use. encoding/json reports its
// field, but not the indexes of lists and the keys of mappings.
type search struct{ *json.UnmarshalTypeError }

// find searches value, which is at path. fields is the rest of the field's path.
func (s search) find(value any, fields, path []string) (at []string, found any, ok bool) {
	listBelongs := s.Type.Kind() == reflect.Slice
	if len(fields) == 0 && listBelongs && s.matches(value) {
		return path, value, true
	}
	switch v := value.(type) {
	case []any:
		for i, child := range v {
			if at, found, ok = s.find(child, fields, childPath(path, pathIndex(i))); ok {
				return at, found, ok
			}
		}
	case map[string]any:
		if len(fields) > 0 {
			return s.find(v[fields[0]], fields[1:], childPath(path, fields[0]))
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if at, found, ok = s.find(v[key], nil, childPath(path, pathElement(key))); ok {
				return at, found, ok
			}
		}
	}
	return path, value, len(fields) == 0 && s.matches(value)
}

// matches reports whether value may be the one.
func (s search) matches(value any) bool {
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

// pathElement returns a key as an element of a path: in brackets if it contains a
// separator.
func pathElement(key string) string {
	if strings.ContainsAny(key, "./[]") {
		return "[" + key + "]"
	}
	return key
}

// containerOf names the container that a path of a pod template belongs to; empty for
// none.
func containerOf(template map[string]any, path []string) string {
	if len(path) < 3 || path[0] != "spec" || !strings.HasSuffix(strings.ToLower(path[1]), "containers") {
		return ""
	}
	name, _ := valueAt(template, []string{"spec", path[1], strings.Trim(path[2], "[]"), "name"})
	if text(name) == "" {
		return ""
	}
	return fmt.Sprintf(" (container %s)", clip.Text(text(name), maxValueBytes))
}

// writtenScalar returns the scalar at a path as the document writes it, without quotes.
// It is empty if aliases or merges hide it.
func (o *object) writtenScalar(path []string) string {
	n := o.root
	if n != nil && n.Kind == yaml.DocumentNode {
		n = n.Content[0]
	}
	for _, name := range path {
		if n = child(n, name); n == nil {
			return ""
		}
	}
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// child returns the child of a node for a key or an index; nil for none.
func child(n *yaml.Node, name string) *yaml.Node {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if key := n.Content[i].Value; key == name || pathElement(key) == name {
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

// manifestPath returns the path of a Go field in a manifest, without embedded structs.
func manifestPath(field string) []string {
	return slices.DeleteFunc(strings.Split(field, "."), func(name string) bool {
		return name != "" && unicode.IsUpper(rune(name[0]))
	})
}

// valueInWords returns a value in the manifest's words.
func valueInWords(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	case string:
		return fmt.Sprintf("the text %q", clip.Text(v, maxValueBytes))
	default:
		return fmt.Sprint(v)
	}
}

// typeInWords returns what kind of value t needs.
func typeInWords(t reflect.Type) string {
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

// badAmount returns the first amount of a resource that cannot be parsed.
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
			if field, amount, found = badAmount(v[key], childPath(path, key)); found {
				return field, amount, found
			}
		}
	case []any:
		for i, child := range v {
			if field, amount, found = badAmount(child, childPath(path, pathIndex(i))); found {
				return field, amount, found
			}
		}
	}
	return "", "", false
}
