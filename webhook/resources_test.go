// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestAmountsBeyondAllAreRefused: comparing 1e99999999 with 1 would compute all its
// digits, and would block the webhook practically for ever.
func TestAmountsBeyondAllAreRefused(t *testing.T) {
	list := func(cpu string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("1Gi")}
	}
	for name, change := range map[string]func(*corev1.PodSpec){
		"a request": func(s *corev1.PodSpec) {
			s.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("1e99999999"), Limits: list("1")}
		},
		"a limit": func(s *corev1.PodSpec) {
			s.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("1"), Limits: list("1e99999999")}
		},
		"the pod's limit": func(s *corev1.PodSpec) { s.Resources = &corev1.ResourceRequirements{Limits: list("1e99999999")} },
		"the pod's request": func(s *corev1.PodSpec) {
			s.Resources = &corev1.ResourceRequirements{Requests: list("1E99999999"), Limits: list("1")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			change(&r.Pod.Spec)
			if result := Mutate(r); result.Decision != Refuse || result.Reason != ReasonPodResources {
				t.Errorf("%s (%s): %s", result.Decision, result.Reason, result.Message)
			}
		})
	}
	r, _ := goldenRequest(t, "plain")
	r.Pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list("0.0000001"), Limits: list("100k")}
	if result := Mutate(r); result.Decision != Inject {
		t.Errorf("%s (%s): %s", result.Decision, result.Reason, result.Message)
	}
}
