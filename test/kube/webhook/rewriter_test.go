// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mirror is the registry from which the rewriter takes every image.
const mirror = "mirror.example/cache/"

// mesh is the init container that a rewriter puts first, as a service mesh does.
const mesh = "mesh"

// rewriter is another mutating webhook, which rewrites the images of all pods.
type rewriter struct {
	// name decides whether it is called before or after the chart's: kube-apiserver
	// calls webhooks in the order of their configurations' names.
	name   string
	policy admissionregistrationv1.ReinvocationPolicyType
	// first makes it put an init container in front.
	first bool
}

// run makes kube-apiserver call the rewriter for the pods of a namespace, until t ends.
func (r rewriter) run(t *testing.T, s *system, namespace string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if err := r.answer(w, req); err != nil {
			t.Errorf("%s: %v", r.name, err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	sideEffects, fail := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail
	configurations := s.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: r.name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:         "images.test.example",
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: ca},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			NamespaceSelector:  &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			ReinvocationPolicy: &r.policy, FailurePolicy: &fail, SideEffects: &sideEffects, AdmissionReviewVersions: []string{"v1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.Background(), r.name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	s.settle(t)
}

// answer answers one AdmissionReview with a JSON patch.
func (r rewriter) answer(w http.ResponseWriter, req *http.Request) error {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
		return fmt.Errorf("reading the review: %w", err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(review.Request.Object.Raw, &pod); err != nil {
		return fmt.Errorf("reading the pod: %w", err)
	}
	patch, err := json.Marshal(r.patch(&pod))
	if err != nil {
		return fmt.Errorf("encoding the patch: %w", err)
	}
	kind := admissionv1.PatchTypeJSONPatch
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: patch, PatchType: &kind}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(review)
}

func (r rewriter) patch(pod *corev1.Pod) []map[string]any {
	patch := []map[string]any{}
	for list, containers := range map[string][]corev1.Container{"initContainers": pod.Spec.InitContainers, "containers": pod.Spec.Containers} {
		for i, c := range containers {
			if !strings.HasPrefix(c.Image, mirror) {
				patch = append(patch, map[string]any{"op": "replace", "path": fmt.Sprintf("/spec/%s/%d/image", list, i), "value": mirror + c.Image})
			}
		}
	}
	if r.first && !slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == mesh }) {
		patch = append(patch, map[string]any{"op": "add", "path": "/spec/initContainers/0", "value": corev1.Container{Name: mesh, Image: mirror + "mesh:1"}})
	}
	return patch
}
