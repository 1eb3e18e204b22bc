// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// amounts returns a list of cpu and memory, either of which may be empty.
func amounts(cpu, memory string) corev1.ResourceList {
	list := corev1.ResourceList{}
	if cpu != "" {
		list[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return list
}

// testResources: kube-apiserver accepts the resources of the two containers. The pod has
// the class that it would have without them.
func (in *installed) testResources(t *testing.T) {
	namespace := in.namespace(t, "resources", nil)
	for _, tc := range []struct {
		name       string
		containers corev1.ResourceRequirements  // of each of the pod's own containers
		whole      *corev1.ResourceRequirements // of the pod
		class      corev1.PodQOSClass
		memory     string // GOMEMLIMIT
		refusal    string // of the webhook
	}{
		{
			name: "Burstable", class: corev1.PodQOSBurstable, memory: "921MiB",
			containers: corev1.ResourceRequirements{Requests: amounts("100m", "")},
		},
		{
			name: "Guaranteed as a whole", class: corev1.PodQOSGuaranteed, memory: "540MiB",
			whole: &corev1.ResourceRequirements{Limits: amounts("250m", "600Mi")}, // less than our containers may use
		},
		{
			name: "Burstable as a whole", class: corev1.PodQOSBurstable, memory: "921MiB",
			whole:      &corev1.ResourceRequirements{Limits: amounts("2", "1Gi"), Requests: amounts("150m", "128Mi")},
			containers: corev1.ResourceRequirements{Requests: amounts("100m", "64Mi")},
		},
		{
			name: "too little memory as a whole", refusal: "spec.resources.limits.memory 256Mi is less than the 512Mi",
			whole: &corev1.ResourceRequirements{Limits: amounts("", "256Mi")},
		},
		{
			name: "requests that leave no room", refusal: "spec.resources.requests.cpu 100m is less than the 110m",
			whole:      &corev1.ResourceRequirements{Limits: amounts("2", "1Gi"), Requests: amounts("100m", "128Mi")},
			containers: corev1.ResourceRequirements{Requests: amounts("100m", "64Mi")},
		},
		{
			// kube-apiserver computes the requests of the whole pod from the containers'
			// requests.
			name: "limits as a whole, requests of the containers", refusal: "write it where only spec.resources.limits is written",
			whole:      &corev1.ResourceRequirements{Limits: amounts("2", "1Gi")},
			containers: corev1.ResourceRequirements{Requests: amounts("100m", "64Mi")},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			shape := func(pod *corev1.Pod) {
				pod.Spec.InitContainers[0].Resources, pod.Spec.Containers[0].Resources, pod.Spec.Resources = tc.containers, tc.containers, tc.whole
			}
			plain := unlabelled()
			shape(plain)
			without, err := in.rehearse(t, namespace, plain)
			if err != nil {
				t.Fatal(err)
			}
			pod, err := in.rehearse(t, namespace, labelled(nil, shape))
			if tc.refusal != "" {
				if said := sentence(t, err); !strings.Contains(said, tc.refusal) {
					t.Errorf("the webhook says %s, want %s", said, tc.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if pod.Status.QOSClass != tc.class || without.Status.QOSClass != tc.class {
				t.Errorf("the pod is %s, and without ours %s; want %s", pod.Status.QOSClass, without.Status.QOSClass, tc.class)
			}
			if env := pod.Spec.InitContainers[1].Env; len(env) != 1 || env[0].Name != "GOMEMLIMIT" || env[0].Value != tc.memory {
				t.Errorf("proxy-client's variables are %v, want GOMEMLIMIT=%s", env, tc.memory)
			}
			for _, c := range pod.Spec.InitContainers[:2] {
				for name, limit := range c.Resources.Limits {
					if tc.whole != nil && limit.Cmp(tc.whole.Limits[name]) > 0 {
						t.Errorf("%s may use %s of %s, which is more than the pod", c.Name, limit.String(), name)
					}
				}
			}
		})
	}
}

// testPodParts: the operator's labels and pull secrets are added to those of the pod.
// They are also added to those that kube-apiserver takes from the ServiceAccount.
func (in *installed) testPodParts(t *testing.T) {
	namespace := in.namespace(t, "parts", nil)
	pod, err := in.rehearse(t, namespace, labelled(nil, func(pod *corev1.Pod) {
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "own"}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := pod.Labels["example.com/network"]; got != "shoot" {
		t.Errorf("the operator's label is %q", got)
	}
	if s := pod.Spec.ImagePullSecrets; len(s) != 2 || s[0].Name != "own" || s[1].Name != "registry" {
		t.Errorf("the pull secrets are %v, want the pod's own and the operator's", s)
	}
	if after, removed := webhook.Remove(pod); !removed || len(after.Spec.ImagePullSecrets) != 1 || after.Labels["example.com/network"] != "" {
		t.Errorf("removed, the pod has labels %v and pull secrets %v", after.Labels, after.Spec.ImagePullSecrets)
	}
}
