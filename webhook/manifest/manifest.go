// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// Options are the inputs of Inject, in addition to the documents.
type Options struct {
	// Namespace is the namespace of the objects. If it is empty, it is what they say,
	// or default.
	Namespace string
	// NativeSidecar overrides every other source: auto, true, false, or empty. A file
	// does not show which nodes exist, so auto has the effect of true.
	NativeSidecar string
	Images        webhook.Images
	// Version is the version of the program that injects.
	Version string
	// Defaults are the operator's; nil for none.
	Defaults *webhook.Config
	// ConfigMap is the configuration in the ConfigMap of the objects' namespace,
	// whatever the ConfigMap is called; nil for none.
	ConfigMap *webhook.Config
	// Strict refuses an object with the label if the label asks for an injection that
	// Inject does not do.
	Strict bool
}

// Result is the result for a stream of documents.
type Result struct {
	// Output is the new stream. It is nil if something was refused.
	Output []byte
	// Outcomes are the outcomes of all objects, in order. Empty documents have none.
	Outcomes []Outcome
}

// Refused returns how many objects were refused or documents could not be read.
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
	return process(stream, operation{
		done: "injected", decide: func(ob object, pod *corev1.Pod) webhook.Result { return o.inject(ob, pod) },
		remarks: true, strict: o.Strict,
	})
}

// Uninject removes what was injected.
func Uninject(stream []byte) *Result {
	return process(stream, operation{done: "uninjected", decide: func(_ object, pod *corev1.Pod) webhook.Result { return uninject(pod) }})
}

// defaultNamespace is Kubernetes' namespace for objects that name none.
const defaultNamespace = "default"

func (o *Options) inject(ob object, pod *corev1.Pod) webhook.Result {
	if !webhook.Wanted(pod) {
		return webhook.Mutate(webhook.Request{Pod: pod})
	}
	if pod.Labels[webhook.Label] == "true" && len(pod.Spec.Containers) == 0 {
		return webhook.Refused(webhook.ReasonBadRequest, fmt.Sprintf("it has no %s: give the whole manifest, if this is a patch of one", ob.noContainers()))
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

// operation is what process does to each object.
type operation struct {
	done    string // the word for a changed object
	decide  func(object, *corev1.Pod) webhook.Result
	remarks bool // report labels in places that do not decide
	strict  bool // refuse objects for those remarks that are unanswered requests
}

// process applies w to each object of a stream.
func process(stream []byte, w operation) *Result {
	result := &Result{}
	var out bytes.Buffer
	number := 0
	for _, d := range split(stream) {
		body := d.body
		if d.hasContent() {
			number++
			var outcomes []Outcome
			body, outcomes = d.process(w)
			for i := range outcomes {
				outcomes[i].Document, outcomes[i].done = number, w.done
			}
			result.Outcomes = append(result.Outcomes, outcomes...)
		}
		out.Write(d.head)
		out.Write(body)
		out.Write(d.tail)
	}
	if result.Refused() == 0 {
		result.Output = append([]byte{}, out.Bytes()...) // empty is not nil
	}
	return result
}

// process returns the document's new body, and the outcomes of its objects.
func (d *document) process(w operation) ([]byte, []Outcome) {
	t, problem := d.parse()
	if problem != "" {
		return d.body, []Outcome{d.unreadable(problem)}
	}
	var changes []change
	var outcomes []Outcome
	for _, ob := range objectsOf(t) {
		outcome, c := ob.process(w)
		if c != nil {
			changes = append(changes, *c)
		}
		outcomes = append(outcomes, outcome)
	}
	if len(changes) == 0 {
		return d.body, outcomes
	}
	body, err := d.edit(t, changes)
	if err != nil {
		for i := range outcomes {
			if outcomes[i].Decision == webhook.Inject {
				outcomes[i].Result = webhook.Refused(webhook.ReasonBadRequest, fmt.Sprintf("the document cannot be edited: %s", err))
			}
		}
	}
	return body, outcomes
}

// process applies w to one object, and returns the change to its document.
func (o *object) process(w operation) (Outcome, *change) {
	path, known := o.template()
	result, c := o.decide(w, path, known)
	outcome := outcomeOf(*o, result)
	if w.remarks {
		outcome.remark(o.remarks(path, known), w.strict)
	}
	if outcome.Decision == webhook.Refuse {
		c = nil
	}
	return outcome, c
}

// remark adds the remarks about the label. If strict is set, each unanswered request is
// a reason to refuse the object.
func (o *Outcome) remark(remarks []remark, strict bool) {
	for _, r := range remarks {
		switch {
		case !r.unanswered:
			o.Notes = append(o.Notes, r.text)
		case strict && o.Decision == webhook.Refuse:
			o.More = append(o.More, r.text)
		case strict:
			o.Result = webhook.Refused(webhook.ReasonBadLabel, r.text)
		default:
			o.Warnings = append(o.Warnings, r.text)
		}
	}
}

// decide decides about the pod at a path in the object, and returns how to change it.
func (o *object) decide(w operation, path []string, known bool) (webhook.Result, *change) {
	if !known {
		return webhook.Result{Decision: webhook.Skip, Message: o.otherKind()}, nil
	}
	pod, err := o.pod(path)
	if errors.Is(err, errNoTemplate) {
		return webhook.Result{Decision: webhook.Skip, Message: "it has no pod template"}, nil
	} else if err != nil {
		return webhook.Refused(webhook.ReasonBadRequest, err.Error()), nil
	}
	result := w.decide(*o, pod)
	if result.Decision != webhook.Inject {
		return result, nil
	}
	return result, &change{object: o.path, pod: path, before: pod, after: result.Pod}
}

// otherKind returns why the object has no pod.
func (o *object) otherKind() string {
	switch c := o.controller(); {
	case o.kind == "":
		return "it is no object of Kubernetes: it has no kind"
	case c != nil:
		return fmt.Sprintf("inject does not change what %s makes pods of", c.name)
	case makesNoPods(o.kind):
		return "this kind has no pod template"
	case o.kindSuggestion() != "":
		return o.kindSuggestion()
	default:
		return "inject knows no pod template of this kind"
	}
}
