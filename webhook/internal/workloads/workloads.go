// SPDX-License-Identifier: Apache-2.0

// Package workloads reads the objects of a cluster that make pods, such as Deployments and
// the kinds of Prometheus Operator, each with the pod of its template.
//
// It does not know which of these pods are injected.
package workloads

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/shoot-proxy/proxy-client/webhook/internal/apiclients"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// Workload is an object that makes pods.
type Workload struct {
	Kind, Namespace, Object string
	Labels                  map[string]string
	// Pod is made from its template.
	Pod *corev1.Pod
	// Wanted and Ready are how many pods it should have and has. Wanted is 0 if that does
	// not matter.
	Wanted, Ready int32
	// Problem is what its controller says about pods that it cannot make.
	Problem string
	// PodMetadata is set for kinds of Prometheus Operator, whose pods get only that.
	PodMetadata bool
	// Controlled is set if another object makes the workload, which is the one to change.
	Controlled bool
}

// Name returns the kind and the name, for people.
func (w *Workload) Name() string { return w.Kind + " " + w.Namespace + "/" + w.Object }

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

// Read reads everything in some namespaces that makes pods, and calls found for each. The
// empty namespace stands for all.
func Read(ctx context.Context, clients *apiclients.Clients, denials *reading.Denials, namespaces []string, found func(*Workload)) {
	kinds := slices.DeleteFunc(slices.Clone(operatorKinds), func(kind schema.GroupVersionResource) bool { return !clients.Serves(ctx, kind) })
	for _, ns := range namespaces {
		const why = "the workloads with the label"
		options := metav1.ListOptions{}
		reading.Pages(ctx, denials, reading.To("list", "deployments.apps", ns, why), options, clients.Apps.Deployments(ns).List, func(page *appsv1.DeploymentList) {
			for _, o := range page.Items {
				w := of("Deployment", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas, o.Status.ReadyReplicas)
				for _, c := range o.Status.Conditions {
					if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
						w.Problem = report.OneLine(c.Message)
					}
				}
				found(w)
			}
		})
		reading.Pages(ctx, denials, reading.To("list", "statefulsets.apps", ns, why), options, clients.Apps.StatefulSets(ns).List, func(page *appsv1.StatefulSetList) {
			for _, o := range page.Items {
				found(of("StatefulSet", o.ObjectMeta, o.Spec.Template, o.Spec.Replicas, o.Status.ReadyReplicas))
			}
		})
		reading.Pages(ctx, denials, reading.To("list", "daemonsets.apps", ns, why), options, clients.Apps.DaemonSets(ns).List, func(page *appsv1.DaemonSetList) {
			for _, o := range page.Items {
				found(of("DaemonSet", o.ObjectMeta, o.Spec.Template, &o.Status.DesiredNumberScheduled, o.Status.NumberReady))
			}
		})
		reading.Pages(ctx, denials, reading.To("list", "jobs.batch", ns, why), options, clients.Batch.Jobs(ns).List, func(page *batchv1.JobList) {
			for _, o := range page.Items {
				if o.Status.CompletionTime == nil && metav1.GetControllerOf(&o) == nil {
					found(of("Job", o.ObjectMeta, o.Spec.Template, nil, 0))
				}
			}
		})
		reading.Pages(ctx, denials, reading.To("list", "cronjobs.batch", ns, why), options, clients.Batch.CronJobs(ns).List, func(page *batchv1.CronJobList) {
			for _, o := range page.Items {
				found(of("CronJob", o.ObjectMeta, o.Spec.JobTemplate.Spec.Template, nil, 0))
			}
		})
		for _, kind := range kinds {
			reading.Pages(ctx, denials, reading.To("list", kind.Resource+"."+kind.Group, ns, why), options, clients.Dynamic.Resource(kind).Namespace(ns).List, func(page *unstructured.UnstructuredList) {
				for _, o := range page.Items {
					found(ofOperator(&o))
				}
			})
		}
	}
}

func of(kind string, m metav1.ObjectMeta, t corev1.PodTemplateSpec, replicas *int32, ready int32) *Workload {
	w := &Workload{Kind: kind, Namespace: m.Namespace, Object: m.Name, Labels: m.Labels, Pod: template(t), Ready: ready, Controlled: metav1.GetControllerOf(&m) != nil}
	if replicas != nil {
		w.Wanted = *replicas
	}
	return w
}

// ofOperator reads a resource of Prometheus Operator. Its pods' containers are not
// known, so one stands for them.
func ofOperator(o *unstructured.Unstructured) *Workload {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "prometheus", Image: "prometheus"}}}}
	// A value of another type is the operator's to refuse.
	p.Labels, _, _ = unstructured.NestedStringMap(o.Object, "spec", "podMetadata", "labels")
	p.Annotations, _, _ = unstructured.NestedStringMap(o.Object, "spec", "podMetadata", "annotations")
	p.Spec.NodeSelector, _, _ = unstructured.NestedStringMap(o.Object, "spec", "nodeSelector")
	return &Workload{Kind: o.GetKind(), Namespace: o.GetNamespace(), Object: o.GetName(), Labels: o.GetLabels(), Pod: p, PodMetadata: true}
}

// LacksPods reports whether pods of a workload may be missing, of which only events say
// why. A Deployment's conditions say it.
func (w *Workload) LacksPods() bool {
	return w.Ready < w.Wanted && (w.Kind == "StatefulSet" || w.Kind == "DaemonSet")
}

// LastFailure returns what a workload's controller said last about a pod that it could
// not make, or "".
func LastFailure(ctx context.Context, clients *apiclients.Clients, denials *reading.Denials, w *Workload) string {
	var last corev1.Event
	options := metav1.ListOptions{FieldSelector: fmt.Sprintf("involvedObject.kind=%s,involvedObject.name=%s", w.Kind, w.Object)}
	reading.Pages(ctx, denials, reading.To("list", "events", w.Namespace, "why pods of workloads are missing"), options, clients.Core.Events(w.Namespace).List, func(page *corev1.EventList) {
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
