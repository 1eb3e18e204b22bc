// SPDX-License-Identifier: Apache-2.0

package manifest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// controller makes pods of a kind that inject does not know.
type controller struct {
	name   string
	group  string
	kinds  []string
	labels string // the path of its objects' labels that all their pods get
	// copied matches the paths whose labels the controller copies to pods, without
	// indexes.
	copied *regexp.Regexp
	// complete means that the pods end by themselves.
	complete bool
}

// Paths whose labels a controller copies to pods.
var (
	ofItself       = regexp.MustCompile(`^metadata$`)
	ofTemplate     = regexp.MustCompile(`^spec\.template\.metadata$`)
	ofPodMetadata  = regexp.MustCompile(`^spec\.podMetadata$`)
	ofWorkflow     = regexp.MustCompile(`^spec\.(podMetadata|(templates|templateDefaults)\.(.*\.inline\.)?metadata)$`)
	ofCronWorkflow = regexp.MustCompile(`^spec\.workflowSpec\.(podMetadata|(templates|templateDefaults)\.(.*\.inline\.)?metadata)$`)
)

// controllers returns common controllers. Their sources are: Prometheus Operator's
// statefulset.go (podMetadata), Argo Rollouts' ReplicaSets, Argo Workflows' addMetadata
// in workflowpod.go, Knative's makeLabels of a Revision.
func controllers() []controller {
	return []controller{
		{"Prometheus Operator", "monitoring.coreos.com", []string{"Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler"}, "spec.podMetadata.labels", ofPodMetadata, false},
		{"Argo Rollouts", "argoproj.io", []string{"Rollout"}, "spec.template.metadata.labels", ofTemplate, false},
		{"Argo Workflows", "argoproj.io", []string{"Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate"}, "spec.podMetadata.labels", ofWorkflow, true},
		{"Argo Workflows", "argoproj.io", []string{"CronWorkflow"}, "spec.workflowSpec.podMetadata.labels", ofCronWorkflow, true},
		{"Knative", "serving.knative.dev", []string{"Service", "Configuration"}, "spec.template.metadata.labels", ofTemplate, false},
		{"Knative", "serving.knative.dev", []string{"Revision"}, "metadata.labels", ofItself, false},
		{"OpenShift", "apps.openshift.io", []string{"DeploymentConfig"}, "spec.template.metadata.labels", ofTemplate, false},
	}
}

// controller returns the controller that makes pods of the object; nil if none is
// known.
func (o *object) controller() *controller {
	group, _, _ := strings.Cut(o.apiVersion, "/")
	for _, c := range controllers() {
		if c.group == group && slices.Contains(c.kinds, o.kind) {
			return &c
		}
	}
	return nil
}

// index matches the index of a list's element in a path.
var index = regexp.MustCompile(`\[\d+\]`)

// copies reports whether the controller copies the labels at a path to pods.
func (c *controller) copies(path []string) bool {
	return path[len(path)-1] == "labels" && c.copied.MatchString(index.ReplaceAllString(dotted(path[:len(path)-1]), ""))
}

// effect returns what a label in one of the controller's objects does.
func (c *controller) effect(o *object, m mention) string {
	if workload := o.workloadRef(); workload != "" {
		return fmt.Sprintf("%s takes the pod template of %s (spec.workloadRef), and no label of this object: put it there", c.name, workload)
	}
	if !c.copies(m.path) {
		return fmt.Sprintf("%s does not give it to each pod from there: put it into %s", c.name, c.labels)
	}
	if m.value != "true" {
		return fmt.Sprintf("%s copies it to the pods, and the webhook refuses them", c.name)
	}
	if o.namespace == "kube-system" {
		return fmt.Sprintf("%s copies it to the pods, but the webhook does not look at those of kube-system", c.name)
	}
	sees := fmt.Sprintf("%s copies it to the pods, and the webhook injects them as they are made; this command changes nothing here", c.name)
	if c.complete {
		sees += "; they are to complete, which takes native sidecars (annotation " + webhook.AnnotationPrefix + "native-sidecar beside the label, if nodes may be old)"
	}
	return sees
}

// workloadRef returns the workload whose pod template a Rollout uses. It is empty if
// the Rollout has its own.
func (o *object) workloadRef() string {
	spec, _ := o.value["spec"].(map[string]any)
	ref, _ := spec["workloadRef"].(map[string]any)
	if o.kind != "Rollout" || ref == nil {
		return ""
	}
	return strings.TrimSpace(text(ref["kind"]) + " " + text(ref["name"]))
}
