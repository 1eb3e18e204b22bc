// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// edit is an operation of a JSON patch (RFC 6902): add, remove or replace.
type edit struct {
	op    string
	path  []string
	value any // as encoding/json decodes it
}

// The operations.
const (
	opAdd     = "add"
	opRemove  = "remove"
	opReplace = "replace"
)

// editsOf returns what makes after of before, at path. Unlike webhook.Patch it knows
// that an element put in front of a list moves the others: comments, and fields that
// the Go type does not know, have to move with them.
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

// diffLists takes out what is gone, from the end, and puts in what is new. Where what
// stayed has changed its order, the list is replaced.
func diffLists(edits []edit, from, to []any, path []string) []edit {
	has := func(list []any, e any) bool {
		return slices.ContainsFunc(list, func(other any) bool { return reflect.DeepEqual(e, other) })
	}
	var stayed []any
	var list []edit
	for i, e := range slices.Backward(from) {
		if has(to, e) {
			stayed = append(stayed, e)
		} else {
			list = append(list, edit{op: opRemove, path: below(path, strconv.Itoa(i))})
		}
	}
	slices.Reverse(stayed)
	for i, e := range to {
		if len(stayed) > 0 && reflect.DeepEqual(stayed[0], e) {
			stayed = stayed[1:]
		} else {
			list = append(list, edit{opAdd, below(path, strconv.Itoa(i)), e})
		}
	}
	if len(stayed) > 0 {
		return append(edits, edit{opReplace, path, to})
	}
	return append(edits, list...)
}

// below returns a path of its own memory.
func below(path []string, name string) []string {
	return append(slices.Clip(slices.Clone(path)), name)
}
