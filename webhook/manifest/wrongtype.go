// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"k8s.io/apimachinery/pkg/api/resource"
)

// seeKubectl is the way out where a manifest is not what Kubernetes takes.
const seeKubectl = "'kubectl explain' shows what belongs there"

// wrongKind says why a pod template does not become its Go type, in words of the
// manifest.
func wrongKind(path []string, value map[string]any, err error) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	switch {
	case ok && mismatch.Field != "":
		field := strings.Join(append(slices.Clone(path), inManifest(mismatch.Field)...), ".")
		has, quotable := inYAML(mismatch.Value)
		next := seeKubectl
		if mismatch.Type.Kind() == reflect.String && quotable {
			next = "write it in quotes"
		}
		return fmt.Errorf("its %s has %s where %s belongs: %s", field, has, ofType(mismatch.Type), next)
	case errors.Is(err, resource.ErrFormatWrong):
		if field, amount, found := badAmount(value, path); found {
			return fmt.Errorf("its %s %s is not an amount: write one such as 100m or 512Mi", field, amount)
		}
	}
	if bad, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("its %s has %q for a time: write one such as 2006-01-02T15:04:05Z", strings.Join(append(slices.Clone(path), "metadata"), "."), bad.Value)
	}
	return fmt.Errorf("its pod template cannot be read: %s: %s", sentence(err), seeKubectl)
}

// inManifest is the path of a Go field in a manifest, which has no embedded structs.
func inManifest(field string) []string {
	return slices.DeleteFunc(strings.Split(field, "."), func(name string) bool {
		return name != "" && unicode.IsUpper(rune(name[0]))
	})
}

// inYAML is what a manifest has, in place of encoding/json's word for it. quotable says
// that it would be a text in quotes.
func inYAML(word string) (text string, quotable bool) {
	word, number, _ := strings.Cut(word, " ")
	switch word {
	case "object":
		return "a mapping", false
	case "array":
		return "a list", false
	case "bool":
		return "true or false", true
	case "string":
		return "a text", false
	case "number":
		if number != "" {
			return number, true
		}
		return "a number", true
	default:
		return "a " + word, false
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
			return strings.Join(path, "."), fmt.Sprintf("%q", text), true
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
		for _, child := range v {
			if field, amount, found = badAmount(child, path); found {
				return field, amount, found
			}
		}
	}
	return "", "", false
}
