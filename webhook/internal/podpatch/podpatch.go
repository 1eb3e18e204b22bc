// SPDX-License-Identifier: Apache-2.0

// Package podpatch says how to change one pod into another, as a JSON patch for an API
// server.
//
//	operations, err := podpatch.Between(pod, injected)
//
// It does not know why a pod changes.
package podpatch

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	jsonpatch "gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// operation is one operation of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"` // never a plain "", which omitempty would drop
}

// Between returns the JSON patch (RFC 6902) that changes before to after. It adds and
// removes whole containers, volumes and annotations. It never changes one container
// into another. Otherwise fields that a newer API server has, and our types do not,
// would stay in the wrong container.
func Between(before, after *corev1.Pod) ([]byte, error) {
	rest := before.DeepCopy()
	rest.Annotations, rest.Labels = after.Annotations, after.Labels
	rest.Spec.InitContainers, rest.Spec.Containers, rest.Spec.Volumes = after.Spec.InitContainers, after.Spec.Containers, after.Spec.Volumes
	rest.Spec.ImagePullSecrets = after.Spec.ImagePullSecrets
	if !equal(rest, after) {
		return patchByPlace(before, after) // other fields have changed too
	}
	var all []operation
	all = append(all, entries("/metadata/annotations", before.Annotations, after.Annotations)...)
	all = append(all, entries("/metadata/labels", before.Labels, after.Labels)...)
	all = append(all, elements("/spec/imagePullSecrets", before.Spec.ImagePullSecrets, after.Spec.ImagePullSecrets)...)
	all = append(all, elements("/spec/volumes", before.Spec.Volumes, after.Spec.Volumes)...)
	all = append(all, elements("/spec/initContainers", before.Spec.InitContainers, after.Spec.InitContainers)...)
	all = append(all, elements("/spec/containers", before.Spec.Containers, after.Spec.Containers)...)
	return json.Marshal(all)
}

// patchByPlace returns the patch for any two pods. It compares the elements of lists by
// their indexes.
func patchByPlace(before, after *corev1.Pod) ([]byte, error) {
	from, err := json.Marshal(before)
	if err != nil {
		return nil, fmt.Errorf("encoding the pod: %w", err)
	}
	to, err := json.Marshal(after)
	if err != nil {
		return nil, fmt.Errorf("encoding the injected pod: %w", err)
	}
	operations, err := jsonpatch.CreatePatch(from, to)
	if err != nil {
		return nil, fmt.Errorf("comparing the pod with the injected one: %w", err)
	}
	return json.Marshal(operations)
}

// equal tries the cheaper comparison first. It nearly always suffices, because after
// began as a copy of before.
func equal[T any](a, b T) bool {
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}

// elements returns the operations that add new elements to a list, and remove old ones.
func elements[T any](path string, before, after []T) []operation {
	if len(before) == 0 && len(after) == 0 {
		return nil
	}
	if len(before) == 0 {
		return []operation{{Op: "add", Path: path, Value: after}}
	}
	if len(after) == 0 {
		return []operation{{Op: "remove", Path: path}}
	}
	var all []operation
	at := 0
	for len(before) > 0 || len(after) > 0 {
		here := fmt.Sprintf("%s/%d", path, at)
		switch {
		case len(before) > 0 && len(after) > 0 && equal(before[0], after[0]):
			before, after = before[1:], after[1:]
			at++
		case len(before) > 0 && !slices.ContainsFunc(after, func(e T) bool { return equal(e, before[0]) }):
			all = append(all, operation{Op: "remove", Path: here})
			before = before[1:]
		case len(after) > 0:
			all = append(all, operation{Op: "add", Path: here, Value: after[0]})
			after = after[1:]
			at++
		default: // it was added at an earlier index
			all = append(all, operation{Op: "remove", Path: here})
			before = before[1:]
		}
	}
	return all
}

// escape escapes a name for a path (RFC 6901).
var escape = strings.NewReplacer("~", "~0", "/", "~1")

// entries returns the operations that add new and changed entries to a map, and remove
// old ones.
func entries(path string, before, after map[string]string) []operation {
	switch {
	case len(before) == 0 && len(after) == 0:
		return nil
	case len(before) == 0:
		return []operation{{Op: "add", Path: path, Value: after}}
	case len(after) == 0:
		return []operation{{Op: "remove", Path: path}}
	}
	var all []operation
	for name := range before {
		if _, ok := after[name]; !ok {
			all = append(all, operation{Op: "remove", Path: path + "/" + escape.Replace(name)})
		}
	}
	for name, value := range after {
		if old, ok := before[name]; !ok || old != value {
			all = append(all, operation{Op: "add", Path: path + "/" + escape.Replace(name), Value: &value})
		}
	}
	// Sorted, so that the same pod gets the same patch.
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.Path, b.Path) })
	return all
}
