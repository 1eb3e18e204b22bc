// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// injectedJustNow reports whether the pod was injected in this same admission. That
// happens because kube-apiserver calls the webhook again after another webhook has
// changed the pod.
//
// The pod's author cannot pretend that. kube-apiserver records in managedFields what
// the author's request has set, before it calls the first webhook (endpoints/handlers:
// createHandler, UpdateNoErrors). So if no manager has set one of our annotations, a
// webhook has. If there are no managedFields, as in a file, the result is false.
func injectedJustNow(pod *corev1.Pod) bool {
	if len(pod.ManagedFields) == 0 {
		return false
	}
	for _, name := range []string{AnnotationStatus, annotationRenewed} {
		if _, ok := pod.Annotations[name]; ok && !authored(pod, name) {
			return true
		}
	}
	return false
}

// authored reports whether an annotation was in the request that creates the pod. If it
// cannot read managedFields, it returns true.
func authored(pod *corev1.Pod, annotation string) bool {
	for _, manager := range pod.ManagedFields {
		if setsAnnotation(manager, annotation) {
			return true
		}
	}
	return false
}

func setsAnnotation(manager metav1.ManagedFieldsEntry, annotation string) bool {
	if manager.FieldsV1 == nil {
		return true
	}
	var fields struct {
		Metadata struct {
			Annotations map[string]json.RawMessage `json:"f:annotations"`
		} `json:"f:metadata"`
	}
	if err := json.Unmarshal(manager.FieldsV1.GetRawBytes(), &fields); err != nil {
		return true
	}
	_, ok := fields.Metadata.Annotations["f:"+annotation]
	return ok
}
