// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

func kubelet(name, version string, labels map[string]string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status:     corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: version}},
	}
}

func TestOldestNode(t *testing.T) {
	n := newNodes()
	want := func(what string, want int, spec corev1.PodSpec) {
		t.Helper()
		for range 2 { // the second answer is cached
			if got := n.oldestFor(&spec); got != want {
				t.Errorf("%s: oldest is %d, want %d", what, got, want)
			}
		}
	}
	anywhere := corev1.PodSpec{}
	arm := corev1.PodSpec{NodeSelector: map[string]string{"arch": "arm"}}
	want("no nodes", 0, anywhere)

	n.OnAdd(kubelet("a", "v1.34.1", map[string]string{"arch": "arm"}), true)
	n.OnAdd(kubelet("b", "v1.32.0", nil), true)
	n.OnAdd(kubelet("w", "v1.20.0", map[string]string{corev1.LabelOSStable: "windows"}), true)
	want("two of Linux", 32, anywhere)
	want("one is selected", 34, arm)
	want("none is selected", 0, corev1.PodSpec{NodeSelector: map[string]string{"arch": "mips"}})
	want("an empty value is one", 0, corev1.PodSpec{NodeSelector: map[string]string{"arch": ""}})
	want("a label that is not there", 0, corev1.PodSpec{NodeSelector: map[string]string{"none": ""}})
	want("named", 34, corev1.PodSpec{NodeName: "a"})
	want("named, unknown", 0, corev1.PodSpec{NodeName: "z"})

	n.OnUpdate(nil, kubelet("b", "v1.33.0", map[string]string{"arch": "arm"}))
	want("upgraded", 33, anywhere)
	want("relabelled", 33, arm)
	n.OnDelete(cache.DeletedFinalStateUnknown{Key: "b", Obj: kubelet("b", "v1.33.0", nil)})
	want("deleted", 34, anywhere)
	n.OnAdd(kubelet("c", "unknown", nil), false)
	want("one is not known", 0, anywhere)
	want("the others are", 34, arm)
}

// A report without a change does not clear the cached answers.
func TestReportsOfNodesChangeNothing(t *testing.T) {
	n := newNodes()
	n.OnAdd(kubelet("a", "v1.33.0", map[string]string{"arch": "arm"}), true)
	n.oldestFor(&corev1.PodSpec{})
	n.OnUpdate(nil, kubelet("a", "v1.33.0", map[string]string{"arch": "arm"}))
	if len(n.oldest) != 1 {
		t.Errorf("%d answers are remembered, want 1", len(n.oldest))
	}
	for i := range 2 * maxSelectors {
		n.oldestFor(&corev1.PodSpec{NodeSelector: map[string]string{"x": string(rune(i))}})
	}
	if len(n.oldest) > maxSelectors {
		t.Errorf("%d answers are remembered, at most %d should", len(n.oldest), maxSelectors)
	}
}
