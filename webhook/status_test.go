// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestReplacedTextsAreNoChange: texts that a manifest's injection has recorded are no
// reason to inject again. They are removed with the status.
func TestReplacedTextsAreNoChange(t *testing.T) {
	r, _ := goldenRequest(t, "plain")
	injected := Mutate(r).Pod
	texts := map[string]string{"/spec/volumes": " []", "/spec/initContainers": ""}
	r.Pod = WithReplaced(injected, texts)
	if got := Replaced(r.Pod); !maps.Equal(got, texts) {
		t.Errorf("%q was remembered of %q", got, texts)
	}
	if len(Replaced(injected)) > 0 {
		t.Error("the pod that was given has changed")
	}
	if got := Mutate(r); got.Decision != Skip || got.Reason != ReasonAlreadyInjected {
		t.Errorf("%s (%s): %s", got.Decision, got.Reason, got.Message)
	}
	if _, left := mustRemove(t, r.Pod).Annotations[AnnotationStatus]; left {
		t.Error("the status is still there")
	}
}

func TestOnlyAStatusOfOursRemembers(t *testing.T) {
	for _, text := range []string{"", "mine", `{"replaced":{"/spec":""}}`} {
		pod := &corev1.Pod{}
		if text != "" {
			annotate(pod, AnnotationStatus, text)
		}
		if got := WithReplaced(pod, map[string]string{"/spec": ""}); got.Annotations[AnnotationStatus] != text || Replaced(got) != nil {
			t.Errorf("%q became %q", text, got.Annotations[AnnotationStatus])
		}
	}
}

// A second container or volume with one of our names in an injected pod is not ours.
// The pod is refused like one that is not injected.
func TestASecondOneOfOurNameIsNotOurs(t *testing.T) {
	for name, add := range map[string]func(*corev1.PodSpec){
		"init container": func(s *corev1.PodSpec) {
			s.InitContainers = append(s.InitContainers, corev1.Container{Name: initRedirect, Image: "other"})
		},
		"sidecar": func(s *corev1.PodSpec) {
			s.InitContainers = append(s.InitContainers, corev1.Container{Name: proxyClient, Image: "other"})
		},
		"container": func(s *corev1.PodSpec) {
			s.Containers = append(s.Containers, corev1.Container{Name: initRedirect, Image: "other"})
		},
		"volume": func(s *corev1.PodSpec) { s.Volumes = append(s.Volumes, corev1.Volume{Name: volumeRun}) },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			r.Pod = Mutate(r).Pod
			add(&r.Pod.Spec)
			if got := Mutate(r); got.Decision != Refuse || got.Reason != ReasonForeignName {
				t.Errorf("%s (%s): %s", got.Decision, got.Reason, got.Message)
			}
		})
	}
}
