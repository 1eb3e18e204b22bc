// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// workload describes a kind that has a pod template.
type workload struct {
	groups []string
	path   []string // of the mapping with the pod's metadata and spec
}

// workloads returns all kinds of Kubernetes itself that have a pod template, by name.
func workloads() map[string]workload {
	template := []string{"spec", "template"}
	apps := []string{"apps", "extensions"}
	return map[string]workload{
		"Pod":                   {[]string{""}, nil},
		"PodTemplate":           {[]string{""}, []string{"template"}},
		"ReplicationController": {[]string{""}, template},
		"Deployment":            {apps, template},
		"ReplicaSet":            {apps, template},
		"DaemonSet":             {apps, template},
		"StatefulSet":           {apps, template},
		"Job":                   {[]string{"batch"}, template},
		"CronJob":               {[]string{"batch"}, []string{"spec", "jobTemplate", "spec", "template"}},
	}
}

// object is one Kubernetes object in a document.
type object struct {
	root            *yaml.Node // of the document
	value           map[string]any
	path            []string // in the document
	item            int      // number in a list, from 1; 0 if the document is the object
	apiVersion      string
	kind            string
	namespace, name string
}

// objectsOf returns the objects of a document: one, or the items of a list, as kubectl
// unpacks it.
func objectsOf(t *tree) []object {
	var all []object
	collectObjects(&all, object{}, t.value)
	for i := range all {
		all[i].root = t.node
		if len(all[i].path) > 0 {
			all[i].item = i + 1
		}
	}
	return all
}

// collectObjects appends the objects in value. as has the path, and what a list says
// about its items.
func collectObjects(all *[]object, as object, value any) {
	fields, _ := value.(map[string]any)
	as.value = fields
	if kind := text(fields["kind"]); kind != "" {
		as.kind, as.apiVersion = kind, text(fields["apiVersion"])
	}
	items, isList := fields["items"].([]any)
	if _, known := workloads()[as.kind]; isList && !known {
		item := object{}
		if kind := strings.TrimSuffix(as.kind, "List"); kind != as.kind && kind != "" {
			item.kind, item.apiVersion = kind, as.apiVersion
		}
		for i, value := range items {
			item.path = childPath(childPath(as.path, "items"), strconv.Itoa(i))
			collectObjects(all, item, value)
		}
		if len(items) > 0 {
			return
		}
	}
	metadata, _ := fields["metadata"].(map[string]any)
	as.namespace, as.name = text(metadata["namespace"]), text(metadata["name"])
	if as.name == "" {
		as.name = text(metadata["generateName"])
	}
	*all = append(*all, as)
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// template returns the path of the object's pod template. ok is false if its kind has
// none.
func (o *object) template() (path []string, ok bool) {
	w, ok := workloads()[o.kind]
	return w.path, ok && slices.Contains(w.groups, o.group())
}

// group returns the API group. It is empty for the core group, whose apiVersion is
// "v1".
func (o *object) group() string {
	group, _, found := strings.Cut(o.apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// kindSuggestion returns what is wrong with the kind or the apiVersion of an object
// that may be meant as a workload. It is empty for other objects.
func (o *object) kindSuggestion() string {
	known := workloads()
	if w, ok := known[o.kind]; ok && o.apiVersion == "" {
		return "it has no apiVersion, without which nothing knows it: write " + strings.TrimPrefix(w.groups[0]+"/v1", "/")
	}
	name := spelling.Nearest(o.kind, slices.Sorted(maps.Keys(known)))
	if name == "" || name == o.kind || !slices.Contains(known[name].groups, o.group()) {
		return ""
	}
	return fmt.Sprintf("no kind is called %s: did you mean %s?", o.kind, name)
}

// errNoTemplate is the error of a workload that lacks its pod template.
var errNoTemplate = errors.New("has no pod template")

// pod returns the pod, or the pod template, at a path in the object.
func (o *object) pod(path []string) (*corev1.Pod, error) {
	value := o.value
	for i, name := range path {
		next, ok := value[name].(map[string]any)
		if !ok && value[name] != nil {
			return nil, fmt.Errorf("its %s is not a mapping: %s", dotted(path[:i+1]), seeKubectl)
		}
		if !ok {
			return nil, errNoTemplate
		}
		value = next
	}
	encoded, err := json.Marshal(map[string]any{"metadata": value["metadata"], "spec": value["spec"]})
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	// The API server is as strict about the case of names.
	if err := utiljson.Unmarshal(encoded, pod); err != nil {
		return nil, o.wrongKind(path, value, err)
	}
	return pod, nil
}

// noContainers returns the path that an object without containers lacks: the
// containers, or the whole spec of its pod.
func (o *object) noContainers() string {
	path, _ := o.template()
	path = childPath(path, "spec")
	if spec, _ := valueAt(o.value, path); spec != nil {
		path = childPath(path, "containers")
	}
	return dotted(path)
}
