// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"math/rand/v2"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
)

// anyPod has some containers, volumes and annotations of few names, twice the same
// among them.
func anyPod(r *rand.Rand) *corev1.Pod {
	name := func() string { return string(rune('a' + r.IntN(5))) }
	pod := labelled()
	pod.Spec.Containers = nil
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
		pod.Spec.Hostname = name() // what is patched otherwise
	}
	return pod
}

// Whatever a pod is made of, the patch makes it.
func TestPatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		before, after := anyPod(r), anyPod(r)
		text, err := patchOf(before, after)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		patch, err := jsonpatch.DecodePatch(text)
		if err != nil {
			t.Fatal(err)
		}
		made, err := patch.Apply(raw)
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, raw, text)
		}
		got := &corev1.Pod{}
		if err := json.Unmarshal(made, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(after, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-want +got):\n%s\n%s\n%s", diff, raw, text)
		}
	}
}
