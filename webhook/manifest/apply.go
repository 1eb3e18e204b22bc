// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// applyChange returns the pod's part of a document after the pod becomes another. Only
// the difference between the two pods is applied. So fields that the Go type does not
// know survive, also if an element of a list moves. The type's empty fields do not
// appear.
func applyChange(document any, before, after *corev1.Pod) (any, error) {
	from, err := untyped(before)
	if err != nil {
		return nil, err
	}
	to, err := untyped(after)
	if err != nil {
		return nil, err
	}
	return merge(document, from, to), nil
}

func untyped(pod *corev1.Pod) (any, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	return decode(text)
}

// merge changes in a value of the document what differs between from and to.
func merge(document, from, to any) any {
	if reflect.DeepEqual(from, to) {
		return document
	}
	switch b := to.(type) {
	case map[string]any:
		d, _ := document.(map[string]any) // nil for null, which is an empty map in the Go type
		if a, wasMap := from.(map[string]any); wasMap {
			return mergeMaps(d, a, b)
		}
	case []any:
		d, isList := document.([]any)
		if a, wasList := from.([]any); isList && wasList && len(a) == len(d) {
			return mergeLists(d, a, b)
		}
	}
	return to
}

func mergeMaps(document, from, to map[string]any) map[string]any {
	document = maps.Clone(document)
	if document == nil {
		document = map[string]any{}
	}
	for key := range from {
		if _, stays := to[key]; !stays {
			delete(document, key)
		}
	}
	for key, value := range to {
		if old, was := from[key]; !was {
			document[key] = value
		} else if !reflect.DeepEqual(old, value) {
			document[key] = merge(document[key], old, value)
		}
	}
	return document
}

// mergeLists returns the elements of to. An element that was also in from is taken from
// the document.
func mergeLists(document, from, to []any) []any {
	places := map[string][]int{} // indexes in from
	for i, value := range from {
		same := jsonText(value)
		places[same] = append(places[same], i)
	}
	merged := make([]any, len(to))
	for i, value := range to {
		merged[i] = value
		same := jsonText(value)
		if at := places[same]; len(at) > 0 {
			merged[i] = document[at[0]]
			places[same] = at[1:]
		}
	}
	return merged
}

// jsonText returns a value as JSON. Equal values have equal texts.
func jsonText(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("what came from JSON does not become JSON: %v", err))
	}
	return string(text)
}

// withValueAt returns a copy of value in which to is the value at path. All of the path
// except its end must exist.
func withValueAt(value any, path []string, to any) (any, error) {
	if len(path) == 0 {
		return to, nil
	}
	switch v := value.(type) {
	case map[string]any:
		child, err := withValueAt(v[path[0]], path[1:], to)
		v = maps.Clone(v)
		v[path[0]] = child
		return v, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(v) {
			return nil, fmt.Errorf("no element %q in a list of %d", path[0], len(v))
		}
		v = slices.Clone(v)
		v[i], err = withValueAt(v[i], path[1:], to)
		return v, err
	default:
		return nil, fmt.Errorf("%q is in neither a mapping nor a list", path[0])
	}
}

// valueAt returns the value at path. ok is false if there is none.
func valueAt(value any, path []string) (found any, ok bool) {
	for _, name := range path {
		switch v := value.(type) {
		case map[string]any:
			value, ok = v[name]
			if !ok {
				return nil, false
			}
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(v) {
				return nil, false
			}
			value = v[i]
		default:
			return nil, false
		}
	}
	return value, true
}

// childPath returns path with name appended, in new memory.
func childPath(path []string, name string) []string {
	return append(slices.Clip(path), name)
}
