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
		field := strings.Join(append(slices.Clone(path), mismatch.Field), ".")
		next := seeKubectl
		if mismatch.Type.Kind() == reflect.String {
			next = "write it in quotes"
		}
		return fmt.Errorf("its %s has %s where %s belongs: %s", field, inYAML(mismatch.Value), ofType(mismatch.Type), next)
	case errors.Is(err, resource.ErrFormatWrong):
		if field, amount, found := badAmount(value, path); found {
			return fmt.Errorf("its %s %q is not an amount: write one such as 100m or 512Mi", field, amount)
		}
	}
	return fmt.Errorf("its pod template cannot be read: %s: %s", sentence(err), seeKubectl)
}

// inYAML is what a manifest has, in place of encoding/json's word for it.
func inYAML(word string) string {
	word, _, _ = strings.Cut(word, " ") // the number that it was
	switch word {
	case "object":
		return "a mapping"
	case "array":
		return "a list"
	case "bool":
		return "true or false"
	case "string":
		return "a text"
	default:
		return "a " + word
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
	default:
		return "a number"
	}
}

// badAmount finds the amount of a resource that is none.
func badAmount(value any, path []string) (field, amount string, found bool) {
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
	case string:
		_, err := resource.ParseQuantity(v)
		of := ""
		if len(path) > 1 {
			of = path[len(path)-2]
		}
		return strings.Join(path, "."), v, err != nil && (of == "limits" || of == "requests")
	}
	return "", "", false
}
