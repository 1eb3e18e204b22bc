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

// edit is an operation of a JSON patch (RFC 6902): add, remove, replace or move.
type edit struct {
	op   string
	path []string
	// value is as encoding/json decodes it. Of a move, which is within a list, it is
	// the index that it is from.
	value any
}

// The operations.
const (
	opAdd     = "add"
	opRemove  = "remove"
	opReplace = "replace"
	opMove    = "move"
)

// editsOf returns what makes after of before, at path. Unlike webhook.Patch it moves
// what changes its place in a list: comments, and fields that the Go type does not
// know, have to move with it.
func editsOf(before, after *corev1.Pod, path []string) ([]edit, error) {
	from, err := untyped(before)
	if err != nil {
		return nil, err
	}
	to, err := untyped(after)
	if err != nil {
		return nil, err
	}
	return diff(nil, from, to, path), nil
}

func untyped(pod *corev1.Pod) (any, error) {
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	return decode(text)
}

func diff(edits []edit, from, to any, path []string) []edit {
	if reflect.DeepEqual(from, to) {
		return edits
	}
	switch a := from.(type) {
	case map[string]any:
		if b, ok := to.(map[string]any); ok {
			return diffMaps(edits, a, b, path)
		}
	case []any:
		if b, ok := to.([]any); ok {
			return diffLists(edits, a, b, path)
		}
	}
	return append(edits, edit{opReplace, path, to})
}

func diffMaps(edits []edit, from, to map[string]any, path []string) []edit {
	for _, key := range slices.Sorted(maps.Keys(from)) {
		if value, ok := to[key]; ok {
			edits = diff(edits, from[key], value, below(path, key))
		} else {
			edits = append(edits, edit{op: opRemove, path: below(path, key)})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(to)) {
		if _, ok := from[key]; !ok {
			edits = append(edits, edit{opAdd, below(path, key), to[key]})
		}
	}
	return edits
}

// diffLists takes out what is gone, from the end, and then puts each element into its
// place: what was there before is moved, with all that its Go type does not know of.
func diffLists(edits []edit, from, to []any, path []string) []edit {
	missing := map[string]int{} // how many of each
	for _, e := range to {
		missing[identity(e)]++
	}
	stay := make([]bool, len(from))
	for i, e := range from {
		if id := identity(e); missing[id] > 0 {
			missing[id]--
			stay[i] = true
		}
	}
	var current []string
	for i, e := range slices.Backward(from) {
		if stay[i] {
			current = append(current, identity(e))
		} else {
			edits = append(edits, edit{op: opRemove, path: below(path, strconv.Itoa(i))})
		}
	}
	slices.Reverse(current)
	for i, e := range to {
		at, id := below(path, strconv.Itoa(i)), identity(e)
		switch where := slices.Index(current[i:], id); {
		case where == 0:
			continue
		case where > 0:
			current = slices.Delete(current, i+where, i+where+1)
			edits = append(edits, edit{op: opMove, path: at, value: i + where})
		default:
			edits = append(edits, edit{opAdd, at, e})
		}
		current = slices.Insert(current, i, id)
	}
	return edits
}

// identity is the same text for the same values.
func identity(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("what came from JSON does not become JSON: %v", err))
	}
	return string(text)
}

// below returns a path of its own memory.
func below(path []string, name string) []string {
	return append(slices.Clip(slices.Clone(path)), name)
}
