// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/podpatch/podpatchtest"
)

// somePod returns a random pod that can be injected.
func somePod(r *rand.Rand) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Labels: map[string]string{Label: "true"}}}
	container := func(kind string, i int) corev1.Container {
		c := corev1.Container{Name: fmt.Sprint(kind, i), Image: "registry.example/app"}
		if r.IntN(3) == 0 {
			c.SecurityContext = &corev1.SecurityContext{RunAsUser: new(r.Int64N(100_000) + 20_000)}
		}
		if r.IntN(3) == 0 {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 8000 + r.Int32N(100)}}
		}
		return c
	}
	for i := range r.IntN(3) {
		c := container("init", i)
		if r.IntN(2) == 0 {
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	for i := range 1 + r.IntN(3) {
		pod.Spec.Containers = append(pod.Spec.Containers, container("app", i))
	}
	for i := range r.IntN(3) {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprint("volume", i)})
	}
	for name, value := range map[string]string{
		"example.org/note": "something", defaultContainer: "app0",
		AnnotationPrefix + annotationExcludePorts: "22", AnnotationPrefix + annotationNativeSidecar: "true",
	} {
		if r.IntN(4) == 0 {
			annotate(pod, name, value)
		}
	}
	if r.IntN(4) == 0 {
		pod.Labels["example.com/team"] = "shop"
		pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: []string{"own", "mirror"}[r.IntN(2)]}}
	}
	if r.IntN(4) == 0 {
		amounts := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")}
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: amounts, Requests: amounts}
	}
	if r.IntN(2) == 0 {
		pod.Spec.TerminationGracePeriodSeconds = new(r.Int64N(120))
	}
	return pod
}

func someRequest(t testing.TB, r *rand.Rand) Request {
	t.Helper()
	file := []string{"config.yaml", "every-setting.config.yaml", "pod-parts.config.yaml", "guaranteed-kept.config.yaml"}[r.IntN(4)]
	c, err := ParseConfig("--config", read(t, "testdata/"+file))
	if err != nil {
		t.Fatal(err)
	}
	return Request{
		Pod: somePod(r), Defaults: c, Images: Images{"proxy-client:v1", "init-redirect:v1"}, Version: "v1",
		OldestNode: []int{0, 28 + nativeForSure - nativeSince, nativeForSure}[r.IntN(3)],
	}
}

// TestInjectAndRemove uses pods of many shapes:
//
//   - injecting twice is the same as injecting once
//   - removing restores the pod
//   - a newer version replaces an older one and leaves nothing of it
//   - the patch changes the pod to the injected one
func TestInjectAndRemove(t *testing.T) {
	for seed := range uint64(500) {
		r := someRequest(t, rand.New(rand.NewPCG(seed, 0)))
		once := Mutate(r)
		if once.Decision != Inject || once.Reason != ReasonInjected {
			t.Fatalf("seed %d: %s (%s): %s", seed, once.Decision, once.Reason, once.Message)
		}
		if d := cmp.Diff(r.Pod, mustRemove(t, once.Pod), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("seed %d: removed, it is another pod:\n%s", seed, d)
		}
		if got := podpatchtest.Patched(t, r.Pod, once.Pod); !cmp.Equal(once.Pod, got, cmpopts.EquateEmpty()) {
			t.Fatalf("seed %d: the patch makes another pod:\n%s", seed, cmp.Diff(once.Pod, got))
		}
		again := r
		again.Pod = once.Pod
		if twice := Mutate(again); twice.Decision != Skip || twice.Reason != ReasonAlreadyInjected || twice.Hash != once.Hash {
			t.Fatalf("seed %d, again: %s (%s): %s", seed, twice.Decision, twice.Reason, twice.Message)
		}
		newer := again
		newer.Version, newer.Images.ProxyClient = "v2", "proxy-client:v2"
		upgraded := Mutate(newer)
		newer.Pod = r.Pod
		if upgraded.Decision != Inject || upgraded.Reason != ReasonUpgraded {
			t.Fatalf("seed %d, a newer version: %s (%s): %s", seed, upgraded.Decision, upgraded.Reason, upgraded.Message)
		}
		if d := cmp.Diff(Mutate(newer).Pod, upgraded.Pod, cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("seed %d: brought up to date, it is not what the newer version injects:\n%s", seed, d)
		}
	}
}

func mustRemove(t testing.TB, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	pod, removed := Remove(pod)
	if !removed {
		t.Fatal("nothing was removed")
	}
	return pod
}

// TestOthersMayAdd: additions to our containers, such as those by kube-apiserver's own
// admission, are no reason to inject again. Changes to the redirect are.
func TestOthersMayAdd(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*corev1.PodSpec)
		want   Decision
	}{
		"a mount": {func(s *corev1.PodSpec) { addMount(&s.InitContainers[0]) }, Skip},
		"a variable": {func(s *corev1.PodSpec) {
			s.InitContainers[1].Env = append(s.InitContainers[1].Env, corev1.EnvVar{Name: "A"})
		}, Skip},
		"an image":                       {func(s *corev1.PodSpec) { s.InitContainers[0].Image = "other" }, Skip},
		"arguments":                      {func(s *corev1.PodSpec) { s.InitContainers[0].Args = s.InitContainers[0].Args[1:] }, Inject},
		"a command":                      {func(s *corev1.PodSpec) { s.InitContainers[1].Command = []string{"sleep"} }, Inject},
		"no capability":                  {func(s *corev1.PodSpec) { s.InitContainers[0].SecurityContext.Capabilities.Add = nil }, Inject},
		"another mount in place of ours": {func(s *corev1.PodSpec) { s.InitContainers[1].VolumeMounts[0].Name = "other" }, Inject},
		"no mount":                       {func(s *corev1.PodSpec) { s.InitContainers[1].VolumeMounts = nil }, Inject},
		"no volume":                      {func(s *corev1.PodSpec) { s.Volumes = s.Volumes[1:] }, Inject},
		"something first": {func(s *corev1.PodSpec) {
			s.InitContainers = append([]corev1.Container{{Name: "x"}}, s.InitContainers...)
		}, Inject},
		"ours is gone": {func(s *corev1.PodSpec) { s.InitContainers = nil }, Inject},
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			r = admitted(t, r)
			once := Mutate(r).Pod
			r.Pod = once.DeepCopy()
			tc.change(&r.Pod.Spec)
			got := Mutate(r)
			if got.Decision != tc.want {
				t.Fatalf("%s (%s): %s; want %s", got.Decision, got.Reason, got.Message, tc.want)
			}
			if got.Decision != Inject {
				return
			}
			if got.Reason != ReasonRestored || got.Pod.Spec.InitContainers[0].Name != initRedirect {
				t.Errorf("%s, %q is first", got.Reason, got.Pod.Spec.InitContainers[0].Name)
			}
			checkOurs(t, name, once, got.Pod)
		})
	}
}

func addMount(c *corev1.Container) {
	c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"})
}
