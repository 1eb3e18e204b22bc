// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// workload is an object that makes pods.
type workload struct {
	kind, namespace, object string
	labels                  map[string]string
	// pod is made from its template.
	pod *corev1.Pod
	// wanted and ready are how many pods it should have and has. wanted is 0 if that does
	// not matter.
	wanted, ready int32
	// problem is what its controller says about pods that it cannot make.
	problem string
	// podMetadata is set for kinds of Prometheus Operator, whose pods get only that.
	podMetadata bool
	// controlled is set if another object makes the workload, which is the one to change.
	controlled bool
	subject    *subject
}

func (w *workload) name() string { return w.kind + " " + w.namespace + "/" + w.object }

// template returns a pod of a template.
func template(t corev1.PodTemplateSpec) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	if p.Spec.RestartPolicy == "" {
		p.Spec.RestartPolicy = corev1.RestartPolicyAlways
	}
	return p
}

// operatorKinds are those of Prometheus Operator that make pods.
var operatorKinds = []schema.GroupVersionResource{
	{Group: "monitoring.coreos.com", Version: "v1", Resource: "prometheuses"},
	{Group: "monitoring.coreos.com", Version: "v1alpha1", Resource: "prometheusagents"},
}

// readWorkloads reads everything that makes pods, and keeps what has the label.
func (in *inspection) readWorkloads(ctx context.Context) {
	kinds := slices.DeleteFunc(slices.Clone(operatorKinds), func(kind schema.GroupVersionResource) bool { return !in.clients.serves(ctx, kind) })
	for _, ns := range in.scopes() {
		const why = "the workloads with the label"
		options := metav1.ListOptions{}
		reading.Pages(ctx, &in.denials, reading.To("list", "deployments.apps", ns, why), options, in.clients.apps.Deployments(ns).List, func(page *appsv1.DeploymentList) {
			for _, o := range page.Items {
				w := of("Deployment", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas, o.Status.ReadyReplicas)
				for _, c := range o.Status.Conditions {
					if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
						w.problem = report.OneLine(c.Message)
					}
				}
				in.keep(w)
			}
		})
		reading.Pages(ctx, &in.denials, reading.To("list", "statefulsets.apps", ns, why), options, in.clients.apps.StatefulSets(ns).List, func(page *appsv1.StatefulSetList) {
			for _, o := range page.Items {
				in.keep(of("StatefulSet", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas, o.Status.ReadyReplicas))
			}
		})
		reading.Pages(ctx, &in.denials, reading.To("list", "daemonsets.apps", ns, why), options, in.clients.apps.DaemonSets(ns).List, func(page *appsv1.DaemonSetList) {
			for _, o := range page.Items {
				in.keep(of("DaemonSet", o.ObjectMeta, o.Spec.Template, &o.Status.DesiredNumberScheduled, o.Status.NumberReady))
			}
		})
		reading.Pages(ctx, &in.denials, reading.To("list", "jobs.batch", ns, why), options, in.clients.batch.Jobs(ns).List, func(page *batchv1.JobList) {
			for _, o := range page.Items {
				if o.Status.CompletionTime == nil && metav1.GetControllerOf(&o) == nil {
					in.keep(of("Job", o.ObjectMeta, o.Spec.Template, nil, 0))
				}
			}
		})
		reading.Pages(ctx, &in.denials, reading.To("list", "cronjobs.batch", ns, why), options, in.clients.batch.CronJobs(ns).List, func(page *batchv1.CronJobList) {
			for _, o := range page.Items {
				in.keep(of("CronJob", o.ObjectMeta, o.Spec.JobTemplate.Spec.Template, nil, 0))
			}
		})
		for _, kind := range kinds {
			reading.Pages(ctx, &in.denials, reading.To("list", kind.Resource+"."+kind.Group, ns, why), options, in.clients.dynamic.Resource(kind).Namespace(ns).List, func(page *unstructured.UnstructuredList) {
				for _, o := range page.Items {
					in.keep(ofOperator(&o))
				}
			})
		}
	}
}

func of(kind string, m metav1.ObjectMeta, t corev1.PodTemplateSpec, replicas *int32, ready int32) *workload {
	w := &workload{kind: kind, namespace: m.Namespace, object: m.Name, labels: m.Labels, pod: template(t), ready: ready, controlled: metav1.GetControllerOf(&m) != nil}
	if replicas != nil {
		w.wanted = *replicas
	}
	return w
}

// ofOperator reads a resource of Prometheus Operator. Its pods' containers are not
// known, so one stands for them.
func ofOperator(o *unstructured.Unstructured) *workload {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "prometheus", Image: "prometheus"}}}}
	// A value of another type is the operator's to refuse.
	p.Labels, _, _ = unstructured.NestedStringMap(o.Object, "spec", "podMetadata", "labels")
	p.Annotations, _, _ = unstructured.NestedStringMap(o.Object, "spec", "podMetadata", "annotations")
	p.Spec.NodeSelector, _, _ = unstructured.NestedStringMap(o.Object, "spec", "nodeSelector")
	return &workload{kind: o.GetKind(), namespace: o.GetNamespace(), object: o.GetName(), labels: o.GetLabels(), pod: p, podMetadata: true}
}

// keep keeps a workload with the label, and reports a label in a place without effect.
func (in *inspection) keep(w *workload) {
	if webhook.Wanted(w.pod) {
		in.workloads = append(in.workloads, w)
		return
	}
	if _, there := w.pod.Labels[webhook.Label]; there || w.controlled || w.labels[webhook.Label] != "true" {
		return
	}
	place, patch := "its pod template", `{"spec":{"template":{"metadata":{"labels":{"shoot-proxy.io/inject":"true"}}}}}`
	switch {
	case w.podMetadata:
		place, patch = "spec.podMetadata", `{"spec":{"podMetadata":{"labels":{"shoot-proxy.io/inject":"true"}}}}`
	case w.kind == "CronJob":
		patch = `{"spec":{"jobTemplate":` + patch + `}}`
	}
	f := Finding{
		Check: "label-place", Group: GroupWorkloads, Status: Warning, Objects: []string{w.name()},
		Message: fmt.Sprintf("It has the label itself, and not in %s: its pods do not get the label, and are not injected.", place),
		Next:    "put the label into " + place,
	}
	if w.kind != "Job" { // its template cannot be changed
		f.Commands = []string{fmt.Sprintf("kubectl --namespace %s patch %s %s --type=merge --patch='%s'", w.namespace, kubectlKind(w.kind), w.object, patch)}
	}
	in.add(f)
}

func kubectlKind(kind string) string { return strings.ToLower(kind) }

// checkWorkloads finds workloads whose pods cannot be made.
func (in *inspection) checkWorkloads(ctx context.Context) {
	var found report.Merged
	asked := 0
	for _, w := range in.workloads {
		if w.problem == "" && w.lacksPods() && asked < maxEventLists {
			asked++
			w.problem = in.lastFailure(ctx, w)
		}
		s := w.subject
		f := Finding{Check: "workload", Group: GroupWorkloads, Status: Failure}
		switch {
		case in.hook != nil && !in.asksIn(w.namespace):
			if in.hasPods(w) {
				continue // they are reported
			}
			f.Check, f.Message = "workload-left-out", fmt.Sprintf("The webhook's registration leaves out namespace %s: pods with the label start without their redirect.", w.namespace)
			f.Next = "take the namespace off the chart's value webhook.excludedNamespaces, or the label off the template"
		case s.now != nil && s.now.Reason == webhook.ReasonOldNodes:
			continue // the nodes are the cause, and are reported
		case s.now != nil && s.now.Decision == webhook.Refuse:
			f.Check, f.Message = "workload-refused", report.Sentence("The webhook refuses its pods: "+s.now.Message)
			f.Next = "correct that; docs/webhook.md, Why a pod is refused, says more"
		case consequence(w.problem, in.report, w.namespace):
			continue // the namespace is the cause, and is reported
		case w.problem != "" && in.report.Has(Failure, "deployment", "service", "endpoints", "serving-certificate", "ca-bundle", "dry-run"):
			f.Message, f.Status = "Its pods cannot be made, because the API server cannot ask the webhook (above).", Skipped
		case w.problem != "":
			f.Message, f.Next = report.Sentence("Its pods cannot be made: "+w.problem), "correct what the message names"
		default:
			continue
		}
		found.Add(f, w.name())
	}
	in.add(found.All...)
}

// maxEventLists is how many workloads' events are read at most.
const maxEventLists = 20

// lacksPods reports whether pods of a workload may be missing, of which only events say
// why. A Deployment's conditions say it.
func (w *workload) lacksPods() bool {
	return w.ready < w.wanted && (w.kind == "StatefulSet" || w.kind == "DaemonSet")
}

// lastFailure returns what a workload's controller said last about a pod that it could
// not make, or "".
func (in *inspection) lastFailure(ctx context.Context, w *workload) string {
	var last corev1.Event
	options := metav1.ListOptions{FieldSelector: fmt.Sprintf("involvedObject.kind=%s,involvedObject.name=%s", w.kind, w.object)}
	reading.Pages(ctx, &in.denials, reading.To("list", "events", w.namespace, "why pods of workloads are missing"), options, in.clients.core.Events(w.namespace).List, func(page *corev1.EventList) {
		for _, e := range page.Items {
			if !e.LastTimestamp.Before(&last.LastTimestamp) {
				last = e
			}
		}
	})
	if last.Reason != "FailedCreate" { // a later success has another reason
		return ""
	}
	return report.OneLine(last.Message)
}

// hasPods reports whether a workload has made pods.
func (in *inspection) hasPods(w *workload) bool {
	return slices.ContainsFunc(in.subjects, func(s *subject) bool {
		return s.real && s.namespace == w.namespace && s.owner == owner{w.kind, w.object}
	})
}

// consequence reports whether a controller's problem follows from a finding about the
// namespace.
func consequence(problem string, r *Report, namespace string) bool {
	for text, check := range map[string]string{
		"violates PodSecurity": "pod-security", "exceeded quota": "quota", "failed quota": "quota",
		"maximum": "limit-range", "minimum": "limit-range", "ratio": "limit-range",
	} {
		if strings.Contains(problem, text) && r.HasIn(namespace, check) {
			return true
		}
	}
	return false
}
