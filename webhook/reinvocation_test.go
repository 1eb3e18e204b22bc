// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// admitted returns the first request of kube-apiserver about the pod.
func admitted(t testing.TB, r Request) Request {
	t.Helper()
	r.Pod, r.Admission = received(t, r.Pod), true
	return r
}

// received returns a copy of a pod with the managedFields that kube-apiserver gives it
// before it calls the first webhook. They hold the author's annotations; other fields
// do not matter here.
func received(t testing.TB, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	annotations := map[string]any{".": map[string]any{}}
	for name := range pod.Annotations {
		annotations["f:"+name] = map[string]any{}
	}
	fields, err := json.Marshal(map[string]any{
		"f:metadata": map[string]any{"f:annotations": annotations},
		"f:spec":     map[string]any{"f:restartPolicy": map[string]any{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	pod = pod.DeepCopy()
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "author", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1",
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(fields)),
	}}
	return pod
}

// mutated returns the result for a pod that is injected.
func mutated(t testing.TB, r Request, pod *corev1.Pod) Result {
	t.Helper()
	r.Pod = pod
	result := Mutate(r)
	if result.Decision != Inject {
		t.Fatalf("%s (%s): %s", result.Decision, result.Reason, result.Message)
	}
	return result
}

// rewriters are ways in which other webhooks change the images of a pod.
var rewriters = map[string]func(image string) string{
	"a mirror": func(image string) string { return "mirror.example/cache/" + image },
	"a digest": func(image string) string {
		return image + "@sha256:4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"
	},
	"another registry": func(string) string { return "elsewhere.example/approved/image:7" },
}

func rewriteImages(pod *corev1.Pod, rewrite func(string) string) *corev1.Pod {
	pod = pod.DeepCopy()
	for _, c := range containers(&pod.Spec) {
		c.Image = rewrite(c.Image)
	}
	return pod
}

// For pods of many shapes, an image that another webhook has rewritten stays, whether
// or not that webhook has changed more of the pod. If nothing else needs a change,
// nothing is changed.
func TestRewrittenImagesStay(t *testing.T) {
	for name, rewrite := range rewriters {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				random := rand.New(rand.NewPCG(seed, 1))
				r := someRequest(t, random)
				r = admitted(t, r)
				once := mutated(t, r, r.Pod)
				r.Pod = rewriteImages(once.Pod, rewrite)
				if again := Mutate(r); again.Decision != Skip || again.Reason != ReasonAlreadyInjected || again.Hash != once.Hash {
					t.Fatalf("seed %d: %s (%s): %s", seed, again.Decision, again.Reason, again.Message)
				}
				// Such as Istio, which puts its container first.
				r.Pod.Spec.InitContainers = slices.Insert(r.Pod.Spec.InitContainers, 0, corev1.Container{Name: "mesh", Image: "mesh:v1"})
				r.Pod.Spec.Volumes = append(r.Pod.Spec.Volumes, corev1.Volume{Name: "mesh"})
				mended := mutated(t, r, r.Pod)
				if mended.Reason != ReasonRestored {
					t.Errorf("seed %d: the reason is %s", seed, mended.Reason)
				}
				want := rewriteImages(once.Pod, rewrite)
				at := slices.IndexFunc(want.Spec.InitContainers, func(c corev1.Container) bool { return c.Name != initRedirect && c.Name != proxyClient })
				if at < 0 {
					at = len(want.Spec.InitContainers)
				}
				want.Spec.InitContainers = slices.Insert(want.Spec.InitContainers, at, corev1.Container{Name: "mesh", Image: "mesh:v1"})
				if d := cmp.Diff(want.Spec.InitContainers, mended.Pod.Spec.InitContainers, cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("seed %d: -want +got:\n%s", seed, d)
				}
				if d := cmp.Diff(want.Spec.Containers, mended.Pod.Spec.Containers, cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("seed %d: -want +got:\n%s", seed, d)
				}
				r.Pod = mended.Pod
				if again := Mutate(r); again.Decision != Skip || again.Reason != ReasonAlreadyInjected {
					t.Fatalf("seed %d, again: %s (%s): %s", seed, again.Decision, again.Reason, again.Message)
				}
			}
		})
	}
}

// A webhook may rewrite images, and change something that our containers depend on.
func TestRewrittenImagesStayBesideOtherChanges(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"AppArmor": func(p *corev1.Pod) {
			contextOf(p).AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost}
		},
		"the grace period": func(p *corev1.Pod) { p.Spec.TerminationGracePeriodSeconds = new(int64(7)) },
		"an annotation":    func(p *corev1.Pod) { annotate(p, AnnotationPrefix+annotationExcludePorts, "22") },
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			r = admitted(t, r)
			once := mutated(t, r, r.Pod)
			change(r.Pod)
			want := rewriteImages(mutated(t, r, r.Pod).Pod, rewriters["a mirror"])
			pod := rewriteImages(once.Pod, rewriters["a mirror"])
			change(pod)
			got := mutated(t, r, pod)
			if got.Reason != ReasonRestored || got.Hash == once.Hash {
				t.Errorf("%s, hash %s: %s", got.Reason, got.Hash, got.Message)
			}
			checkOurs(t, name, want, got.Pod)
			r.Pod = got.Pod
			if again := Mutate(r); again.Reason != ReasonAlreadyInjected {
				t.Errorf("again: %s (%s): %s", again.Decision, again.Reason, again.Message)
			}
		})
	}
}

// A change of the operator's labels by another webhook stays too, also if the pod is
// restored.
func TestLabelsOfOtherWebhooksStay(t *testing.T) {
	const label = "networking.example/to-dns"
	r, _ := goldenRequest(t, "pod-parts")
	r = admitted(t, r)
	r.Pod = mutated(t, r, r.Pod).Pod
	if r.Pod.Labels[label] != "allowed" {
		t.Fatalf("the labels are %v", r.Pod.Labels)
	}
	r.Pod.Labels[label] = "another"
	if again := Mutate(r); again.Reason != ReasonAlreadyInjected {
		t.Errorf("again: %s (%s): %s", again.Decision, again.Reason, again.Message)
	}
	r.Pod.Spec.InitContainers[0].Args = nil
	if got := mutated(t, r, r.Pod).Pod.Labels; got[label] != "another" {
		t.Errorf("the labels are %v", got)
	}
	delete(r.Pod.Labels, label)
	if got := mutated(t, r, r.Pod).Pod.Labels; got[label] != "allowed" {
		t.Errorf("the labels are %v", got)
	}
}

// A pod that comes with a status annotation of any version gets all our parts again. A
// later change of its images by another webhook stays too.
func TestPodsThatCameInjected(t *testing.T) {
	for name, come := range map[string]func(*Request, *corev1.Pod) *corev1.Pod{
		"the same version": func(_ *Request, pod *corev1.Pod) *corev1.Pod { return pod },
		"an older version": func(r *Request, pod *corev1.Pod) *corev1.Pod {
			older := *r
			older.Version, older.Images = "v0", Images{"proxy-client:v0", "init-redirect:v0"}
			return mutated(t, older, mustRemove(t, pod)).Pod
		},
		"rewritten images": func(_ *Request, pod *corev1.Pod) *corev1.Pod {
			return rewriteImages(pod, rewriters["a mirror"])
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				r := someRequest(t, rand.New(rand.NewPCG(seed, 2)))
				fresh := mutated(t, r, r.Pod)
				came := received(t, come(&r, fresh.Pod))
				r.Admission = true
				if seed%2 == 0 {
					came.Spec.InitContainers[0].TerminationMessagePath = "/dev/termination-log" // kube-apiserver's default
				}
				first := mutated(t, r, came)
				if first.Reason != ReasonUpgraded {
					t.Errorf("seed %d: the reason is %s", seed, first.Reason)
				}
				checkOurs(t, fmt.Sprint("seed ", seed), fresh.Pod, first.Pod)
				r.Pod = rewriteImages(first.Pod, rewriters["a digest"])
				if again := Mutate(r); again.Decision != Skip || again.Reason != ReasonAlreadyInjected {
					t.Fatalf("seed %d, rewritten: %s (%s): %s", seed, again.Decision, again.Reason, again.Message)
				}
			}
		})
	}
}

// checkOurs checks that both containers and the volumes of got are those of want.
func checkOurs(t *testing.T, what string, want, got *corev1.Pod) {
	t.Helper()
	ours := func(pod *corev1.Pod) (all []any) {
		for _, c := range containers(&pod.Spec) {
			if c.Name == initRedirect || c.Name == proxyClient {
				all = append(all, *c)
			}
		}
		for _, v := range pod.Spec.Volumes {
			if slices.Contains(ourVolumes, v.Name) {
				all = append(all, v)
			}
		}
		return all
	}
	if d := cmp.Diff(ours(want), ours(got), cmpopts.EquateEmpty()); d != "" {
		t.Fatalf("%s: -want +got:\n%s", what, d)
	}
	for i, c := range got.Spec.InitContainers {
		if c.Name == initRedirect && i != 0 {
			t.Errorf("%s: init-redirect is init container %d", what, i)
		}
	}
}

// A pod's author can write everything that the webhook writes, including the status
// annotation. The containers under our names are still ours.
func TestAuthorsCannotSmuggle(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"an image":  func(p *corev1.Pod) { p.Spec.InitContainers[0].Image = "evil.example/init-redirect:v1.0.0" },
		"a command": func(p *corev1.Pod) { p.Spec.InitContainers[0].Command = []string{"/evil"} },
		"a capability": func(p *corev1.Pod) {
			p.Spec.InitContainers[1].SecurityContext.Capabilities.Add = []corev1.Capability{"SYS_ADMIN"}
		},
		"a profile": func(p *corev1.Pod) {
			p.Spec.InitContainers[0].SecurityContext.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
		},
		"no context": func(p *corev1.Pod) { p.Spec.InitContainers[1].SecurityContext = nil },
		"a mount": func(p *corev1.Pod) {
			p.Spec.InitContainers[0].VolumeMounts = append(p.Spec.InitContainers[0].VolumeMounts, corev1.VolumeMount{Name: "evil", MountPath: "/init-redirect", SubPath: "evil"})
		},
		"a variable": func(p *corev1.Pod) {
			p.Spec.InitContainers[0].Env = []corev1.EnvVar{{Name: "INIT_REDIRECT_EXCLUDE_CIDR", Value: "10.250.0.0/16"}}
		},
		"a hook": func(p *corev1.Pod) {
			p.Spec.InitContainers[1].Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"/evil"}}}}
		},
		"a volume": func(p *corev1.Pod) {
			p.Spec.Volumes[1].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		},
		"resources":     func(p *corev1.Pod) { p.Spec.InitContainers[1].Resources = corev1.ResourceRequirements{} },
		"another place": func(p *corev1.Pod) { slices.Reverse(p.Spec.InitContainers) },
		"the mark of a pod that came injected": func(p *corev1.Pod) {
			annotate(p, AnnotationPrefix+"renewed", "")
			p.Spec.InitContainers[0].Image = "evil.example/init-redirect:v1.0.0"
		},
	} {
		r, _ := goldenRequest(t, "plain")
		fresh := mutated(t, r, r.Pod)
		forged := fresh.Pod.DeepCopy()
		change(forged)
		older := forged.DeepCopy() // copied from an older pod
		older.ManagedFields = received(t, r.Pod).ManagedFields
		for _, tc := range []struct {
			name      string
			pod       *corev1.Pod
			admission bool
		}{
			{"kube-apiserver", received(t, forged), true},
			{"kube-apiserver without managedFields", forged, true},
			{"a file", forged, false},
			{"a file with managedFields", older, false},
		} {
			t.Run(name+", "+tc.name, func(t *testing.T) {
				r.Admission = tc.admission
				checkOurs(t, "the first time", fresh.Pod, mutated(t, r, tc.pod).Pod)
			})
		}
	}
}

// managedFields that cannot be read count as set by the author.
func TestManagedFieldsThatCannotBeRead(t *testing.T) {
	for name, fields := range map[string]*metav1.FieldsV1{
		"none": nil, "no JSON": metav1.NewFieldsV1("{"), "a list": metav1.NewFieldsV1("[]"),
		"no map of annotations": metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":[]}}`),
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := goldenRequest(t, "plain")
			r = admitted(t, r)
			once := mutated(t, r, r.Pod)
			pod := rewriteImages(once.Pod, rewriters["a mirror"])
			pod.ManagedFields = append(pod.ManagedFields, metav1.ManagedFieldsEntry{Manager: "another", FieldsV1: fields})
			checkOurs(t, "again", once.Pod, mutated(t, r, pod).Pod)
		})
	}
}
