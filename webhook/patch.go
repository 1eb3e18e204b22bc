// SPDX-License-Identifier: Apache-2.0

package webhook

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

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"` // never a plain "", which would be left out
}

// Patch returns the JSON patch (RFC 6902) that makes after of before. It puts in and takes out
// whole containers, volumes and annotations, and never makes one container of another:
// what a newer API server has in a container, and our types do not know, would stay
// behind in the wrong one.
func Patch(before, after *corev1.Pod) ([]byte, error) {
	rest := before.DeepCopy()
	rest.Annotations, rest.Labels = after.Annotations, after.Labels
	rest.Spec.InitContainers, rest.Spec.Containers, rest.Spec.Volumes = after.Spec.InitContainers, after.Spec.Containers, after.Spec.Volumes
	rest.Spec.ImagePullSecrets = after.Spec.ImagePullSecrets
	if !equal(rest, after) {
		return patchByPlace(before, after) // more has changed than we know of
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

// patchByPlace is Patch for any two pods. It compares the elements of lists by their
// places.
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

// equal compares the cheap way first, which nearly always is enough: after began as a
// copy of before.
func equal[T any](a, b T) bool {
	return reflect.DeepEqual(a, b) || equality.Semantic.DeepEqual(a, b)
}

// elements puts into a list what is new, and takes out what is not there any more.
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
		default: // it is further up already
			all = append(all, operation{Op: "remove", Path: here})
			before = before[1:]
		}
	}
	return all
}

// escape makes a name part of a path (RFC 6901).
var escape = strings.NewReplacer("~", "~0", "/", "~1")

// entries puts into a map what is new or has changed, and takes out what is not there any
// more.
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
	// The same pod gets the same patch.
	slices.SortFunc(all, func(a, b operation) int { return strings.Compare(a.Path, b.Path) })
	return all
}
