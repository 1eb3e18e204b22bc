// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/spelling"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// mention is a place in an object that has the label's key, or a key that may be meant
// as the label.
type mention struct {
	key   string   // empty for a place in the middle of a text
	path  []string // of the mapping with the key, or of the text
	value any
}

// remark is what to report about a mention.
type remark struct {
	text string
	// unanswered means that the mention asks for an injection that inject does not do.
	unanswered bool
}

// mentions returns all places of the label in an object, including texts. It leaves out
// annotations, which may hold a copy of the object.
func mentions(value any) []mention {
	var all []mention
	var look func(path []string, value any)
	look = func(path []string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				if key == webhook.Label || resemblesOurs(path, key) {
					all = append(all, mention{key, path, v[key]})
				}
				look(childPath(path, key), v[key])
			}
		case []any:
			for i, e := range v {
				look(childPath(path, pathIndex(i)), e)
			}
		case string:
			if strings.Contains(v, webhook.Label) && v != webhook.Label && !slices.Contains(path, "annotations") {
				all = append(all, mention{path: path})
			}
		}
	}
	look(nil, value)
	return all
}

// resemblesOurs reports whether a key in labels or annotations has our prefix or nearly
// our prefix. It leaves out annotations with exactly our prefix, because the webhook
// itself reports their mistakes.
func resemblesOurs(path []string, key string) bool {
	ours := strings.TrimSuffix(webhook.AnnotationPrefix, "/")
	prefix, _, found := strings.Cut(key, "/")
	if !found || len(path) == 0 || spelling.Nearest(prefix, []string{ours}) == "" {
		return false
	}
	last := path[len(path)-1]
	return last == "labels" || last == "annotations" && prefix != ours
}

// keyProblem returns which of our keys a similar key may be meant as.
func (m mention) keyProblem() string {
	_, name, _ := strings.Cut(m.key, "/")
	if ours := webhook.AnnotationPrefix + name; m.fromEnd(0) == "annotations" && ours != webhook.Label {
		return "which is no annotation of ours: did you mean " + ours + "?"
	}
	return "which is no label of ours: " + spelling.Question(m.key, []string{webhook.Label}, "the label is "+webhook.Label+", and all else is an annotation")
}

// remarks returns what each mention does in the object, except for the label that
// decides. template is the path of the object's pod template, if known.
func (o *object) remarks(template []string, known bool) []remark {
	var all []remark
	for _, m := range mentions(o.value) {
		if known && m.key == webhook.Label && slices.Equal(m.path, podLabels(template)) {
			continue // Mutate reports what this one does
		}
		all = append(all, o.remark(m, template, known))
	}
	return all
}

// podLabels returns the path of a pod template's labels.
func podLabels(template []string) []string {
	return slices.Concat(template, []string{"metadata", "labels"})
}

// remark returns what a mention does in its place.
func (o *object) remark(m mention, template []string, known bool) remark {
	at := fmt.Sprintf("%s has %s", cmp.Or(dotted(m.path), "the document"), m.written())
	switch last := m.fromEnd(0); {
	case m.key == "":
		return remark{fmt.Sprintf("%s speaks of %s in a text, which inject does not read", dotted(m.path), webhook.Label), false}
	case m.key != webhook.Label:
		return remark{at + ", " + m.keyProblem(), true}
	case slices.ContainsFunc(m.path, isSelector):
		return remark{at + ", which selects objects and labels none", false}
	case m.value == "false" || o.isAnswered(m, template, known):
		return remark{at + ", which does nothing there", false}
	case last == "annotations":
		return remark{at + ", an annotation, which the webhook does not read: write it as a label" + o.into(template, known), true}
	case last != "labels":
		return remark{at + ": " + o.outsideLabels(m, template, known), true}
	}
	return remark{at + o.valueProblem(m) + ": " + o.effect(m, template, known), true}
}

// isAnswered reports whether the object has the label in the place where it decides, so
// that m asks for nothing more.
func (o *object) isAnswered(m mention, template []string, known bool) bool {
	if known {
		return o.labelAt(podLabels(template)) == "true"
	}
	c := o.controller()
	return c != nil && o.workloadRef() == "" && !c.copies(m.path) && o.labelAt(strings.Split(c.labels, ".")) == "true"
}

// maxValueBytes is how much of a value is quoted in a sentence.
const maxValueBytes = 64

// written returns the label as the manifest has it.
func (m mention) written() string {
	if text, ok := m.value.(string); ok {
		return fmt.Sprintf("%s %q", m.key, text)
	}
	return fmt.Sprintf("%s %s", m.key, clip.Text(jsonText(m.value), maxValueBytes))
}

// fromEnd returns the element of the path that has before elements after it.
func (m mention) fromEnd(before int) string {
	if i := len(m.path) - 1 - before; i >= 0 {
		return m.path[i]
	}
	return ""
}

// valueProblem returns what is wrong with a value other than "true".
func (o *object) valueProblem(m mention) string {
	switch m.value.(type) {
	case string:
		if m.value == "true" {
			return ""
		}
		return `, which is not known (write "true")`
	case bool:
		return fmt.Sprintf(`, which the API server refuses without quotes (write "%v")`, m.value)
	default:
		return `, which the API server refuses without quotes (write "true")`
	}
}

// isSelector reports whether a field selects objects by labels.
func isSelector(field string) bool {
	return field == "matchLabels" || strings.HasSuffix(field, "elector") || strings.HasSuffix(field, "electors")
}

// labelAt returns the label's value in a mapping of the object; empty for none.
func (o *object) labelAt(path []string) string {
	value, _ := valueAt(o.value, childPath(path, webhook.Label))
	return text(value)
}

// into names the place in which the label has an effect, if that is known.
func (o *object) into(template []string, known bool) string {
	if known {
		return " into " + dotted(podLabels(template))
	}
	if c := o.controller(); c != nil {
		return " into " + c.labels
	}
	return " of the pods"
}

// effect returns what the label does in metadata that is not the metadata of a known
// kind's pod.
func (o *object) effect(m mention, template []string, known bool) string {
	onItself := slices.Equal(m.path, []string{"metadata", "labels"})
	switch c := o.controller(); {
	case known && onItself:
		return fmt.Sprintf("it is the %s's own, which the webhook does not read: put it into %s", o.kind, dotted(podLabels(template)))
	case known:
		return "it is not the pod's, and the webhook reads only that: put it into " + dotted(podLabels(template))
	case o.kind == "Namespace" && onItself:
		return "the webhook reads the label of each pod, and not its namespace's: put it into the pod template of each workload"
	case c != nil:
		return c.effect(o, m)
	case makesNoPods(o.kind):
		return fmt.Sprintf("a %s makes no pods: put it into the pod template of the workload that does", o.kind)
	case o.kind == "":
		return "this is no object of Kubernetes, and perhaps values for a template: inject what is rendered with it"
	case onItself:
		return fmt.Sprintf("inject does not know the kind %s, and the webhook sees the label only if the controller of that kind copies it from there to pods", o.kind)
	default:
		return fmt.Sprintf("inject does not know the kind %s; the webhook sees the pods if the controller of that kind copies these labels to them", o.kind)
	}
}

// outsideLabels returns what a mention does in a mapping that is neither labels nor
// annotations.
func (o *object) outsideLabels(m mention, template []string, known bool) string {
	switch {
	case o.kind == "Kustomization" || o.kind == "Component" || o.kind == "" && slices.ContainsFunc(m.path, func(field string) bool { return field == "commonLabels" || field == "pairs" }):
		return "kustomize writes it where it renders: inject what 'kubectl kustomize' prints"
	case o.kind == "":
		return "this is no object of Kubernetes, and perhaps values for a template: inject what is rendered with it"
	case known || o.controller() != nil:
		return "it is no label there: put it" + o.into(template, known)
	case makesNoPods(o.kind):
		return fmt.Sprintf("it is no label there, and a %s makes no pods: put it into the pod template of the workload that does", o.kind)
	default:
		return fmt.Sprintf("it is no label there; the webhook sees pods only if the controller of %s makes a label of theirs of it", o.kind)
	}
}

// makesNoPods reports whether objects of a kind make no pods.
func makesNoPods(kind string) bool {
	return slices.Contains([]string{
		"Namespace", "List", "Service", "ConfigMap", "Secret", "ServiceAccount", "Endpoints", "EndpointSlice", "Ingress", "NetworkPolicy",
		"PersistentVolume", "PersistentVolumeClaim", "PodDisruptionBudget", "HorizontalPodAutoscaler", "LimitRange", "ResourceQuota",
		"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "PriorityClass", "StorageClass",
		"ServiceMonitor", "PodMonitor", "PrometheusRule",
	}, kind)
}

// pathIndex returns the path element for an index of a list.
func pathIndex(index int) string { return "[" + strconv.Itoa(index) + "]" }

// dotted returns a path as people write it: spec.templates[0].metadata.labels.
func dotted(path []string) string { return strings.ReplaceAll(strings.Join(path, "."), ".[", "[") }
