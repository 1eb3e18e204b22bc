// SPDX-License-Identifier: Apache-2.0

package podpatch_test

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/podpatch/podpatchtest"
)

// anyPod returns a pod with random containers, volumes and annotations. They have few
// different names, so that some are equal.
func anyPod(r *rand.Rand) *corev1.Pod {
	name := func() string { return string(rune('a' + r.IntN(5))) }
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Labels: map[string]string{"app": "pod"}}}
	for range r.IntN(4) {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name()})
	}
	for range r.IntN(4) {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name(), Image: name()})
	}
	for range r.IntN(4) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name()})
	}
	for range r.IntN(4) {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations["example.org/~"+name()] = []string{"", "x", "y"}[r.IntN(3)]
	}
	if r.IntN(10) == 0 {
		pod.Spec.Hostname = name() // changes a field that has no patch of its own
	}
	return pod
}

// The patch of any two pods changes the first to the second.
func TestPatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		before, after := anyPod(r), anyPod(r)
		got := podpatchtest.Patched(t, before, after)
		if diff := cmp.Diff(after, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("from %+v (-want +got):\n%s", before, diff)
		}
	}
}
