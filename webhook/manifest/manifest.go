// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// Options are what decides beside the documents.
type Options struct {
	// Namespace is where the objects go; empty for what they say, else default.
	Namespace string
	// NativeSidecar beats every other source: auto, true, false, or empty. A file does
	// not tell which nodes there are, so auto has the effect of true.
	NativeSidecar string
	Images        webhook.Images
	// Version is who injects.
	Version string
	// Defaults are the operator's, nil for none.
	Defaults *webhook.Config
	// ConfigMap is the one of the objects' namespace, whatever it is called there; nil
	// for none.
	ConfigMap *webhook.Config
}

// Result is a stream of documents after all.
type Result struct {
	// Output is what to write: nil where something was refused.
	Output []byte
	// Outcomes are of each object, in order. Documents without anything have none.
	Outcomes []Outcome
}

// Refused counts the objects that were refused, and the documents that could not be
// read.
func (r *Result) Refused() int {
	n := 0
	for _, o := range r.Outcomes {
		if o.Decision == webhook.Refuse {
			n++
		}
	}
	return n
}

// Inject injects into every pod and pod template of a stream.
func Inject(stream []byte, o Options) *Result {
	return process(stream, "injected", func(ob object, pod *corev1.Pod) webhook.Result { return o.inject(ob, pod) })
}

// Uninject takes out what was injected.
func Uninject(stream []byte) *Result {
	return process(stream, "uninjected", func(_ object, pod *corev1.Pod) webhook.Result { return uninject(pod) })
}

// defaultNamespace is Kubernetes' for objects that name none.
const defaultNamespace = "default"

func (o *Options) inject(ob object, pod *corev1.Pod) webhook.Result {
	if !webhook.Wanted(pod) {
		return webhook.Mutate(webhook.Request{Pod: pod})
	}
	name, required, refusal := webhook.ConfigMapFor(pod, o.Defaults)
	if refusal != nil {
		return *refusal
	}
	if required && o.ConfigMap == nil {
		return webhook.Refused(webhook.ReasonConfigMissing,
			fmt.Sprintf("the pod names ConfigMap %q, which is not in a manifest: give what it holds with --configmap", name))
	}
	return webhook.Mutate(webhook.Request{
		Pod:       pod,
		Namespace: webhook.Namespace{Name: o.namespace(ob)},
		Images:    o.Images, Version: o.Version, NativeSidecar: o.NativeSidecar,
		OldestNode: webhook.NoOldNodes,
		Defaults:   o.Defaults, ConfigMap: o.ConfigMap,
	})
}

func (o *Options) namespace(ob object) string {
	return cmp.Or(o.Namespace, ob.namespace, defaultNamespace)
}

func uninject(pod *corev1.Pod) webhook.Result {
	if _, ok := pod.Annotations[webhook.AnnotationStatus]; !ok {
		return webhook.Result{Decision: webhook.Skip, Message: "nothing was injected, or not by the webhook"}
	}
	after, removed := webhook.Remove(pod)
	if !removed {
		return webhook.Refused(webhook.ReasonBadAnnotation,
			fmt.Sprintf("annotation %s is not what the webhook writes there: remove by hand what was injected", webhook.AnnotationStatus))
	}
	return webhook.Result{Decision: webhook.Inject, Message: "removed what was injected", Pod: after}
}

// process has each pod of a stream decided upon. done is the word for a changed one.
func process(stream []byte, done string, decide func(object, *corev1.Pod) webhook.Result) *Result {
	result := &Result{}
	var out bytes.Buffer
	number := 0
	for _, d := range split(stream) {
		body := d.body
		if d.hasContent() {
			number++
			var outcomes []Outcome
			body, outcomes = d.process(decide)
			for i := range outcomes {
				outcomes[i].Document, outcomes[i].done = number, done
			}
			result.Outcomes = append(result.Outcomes, outcomes...)
		}
		out.Write(d.head)
		out.Write(body)
		out.Write(d.tail)
	}
	if result.Refused() == 0 {
		result.Output = slices.Concat([]byte{}, out.Bytes()) // empty is not nil
	}
	return result
}

// process returns the document's body after all, and what became of its objects.
func (d *document) process(decide func(object, *corev1.Pod) webhook.Result) ([]byte, []Outcome) {
	t, problem := d.parse()
	if problem != "" {
		return d.body, []Outcome{d.unreadable(problem)}
	}
	var edits []edit
	var outcomes []Outcome
	for _, ob := range objectsOf(t.value) {
		result, changes := ob.process(decide)
		edits = append(edits, changes...)
		outcomes = append(outcomes, outcomeOf(ob, result))
	}
	if len(edits) == 0 {
		return d.body, outcomes
	}
	body, err := d.edit(t, edits)
	if err != nil {
		for i := range outcomes {
			if outcomes[i].Decision == webhook.Inject {
				outcomes[i].Result = webhook.Refused(webhook.ReasonBadRequest, fmt.Sprintf("the document cannot be edited: %s", err))
			}
		}
	}
	return body, outcomes
}

// process decides upon one object, and returns what is to be changed in its document.
func (o *object) process(decide func(object, *corev1.Pod) webhook.Result) (webhook.Result, []edit) {
	path, known := o.template()
	hints := o.hints(path, known)
	if !known {
		return webhook.Result{Decision: webhook.Skip, Message: o.otherKind(), Warnings: hints}, nil
	}
	pod, err := o.pod(path)
	if errors.Is(err, errNoTemplate) {
		return webhook.Result{Decision: webhook.Skip, Message: "it has no pod template", Warnings: hints}, nil
	} else if err != nil {
		return webhook.Refused(webhook.ReasonBadRequest, err.Error()), nil
	}
	result := decide(*o, pod)
	if result.Decision == webhook.Skip && !webhook.Wanted(pod) {
		result.Warnings = append(result.Warnings, hints...)
	}
	if result.Decision != webhook.Inject {
		return result, nil
	}
	edits, err := editsOf(pod, result.Pod, slices.Concat(o.path, path))
	if err != nil {
		return webhook.Refused(webhook.ReasonBadRequest, sentence(err)), nil
	}
	return result, edits
}

// otherKind says why there is no pod.
func (o *object) otherKind() string {
	if o.kind == "" {
		return "it is no object of Kubernetes: it has no kind"
	}
	return "this kind has no pod template"
}
