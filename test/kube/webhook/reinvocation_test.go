// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// testRewriters: kube-apiserver calls the webhook again after another webhook has
// rewritten its images. The rewritten images stay, and init-redirect is first all the
// same. The order of the two webhooks does not matter. Nor does it matter whether the pod
// was injected before.
func (in *installed) testRewriters(t *testing.T) {
	never, ifNeeded := admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.IfNeededReinvocationPolicy
	for name, rewriter := range map[string]rewriter{
		"after ours":               {name: "z-images", policy: never},
		"after ours, again":        {name: "z-images", policy: ifNeeded},
		"before ours":              {name: "a-images", policy: ifNeeded},
		"after ours, itself first": {name: "z-images", policy: never, first: true},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := in.namespace(t, "rewritten", nil)
			came := in.injectedBefore(t, namespace)
			rewriter.run(t, in.system, namespace)
			for what, pod := range map[string]*corev1.Pod{"a new pod": labelled(nil), "one that came injected": came} {
				made, err := in.create(t, namespace, pod)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				in.checkRewritten(t, what, made, rewriter.first)
			}
			// kube-controller-manager makes the pod of a template that was injected
			// before.
			_, err := in.client.AppsV1().ReplicaSets(namespace).Create(t.Context(), &appsv1.ReplicaSet{
				ObjectMeta: metav1.ObjectMeta{Name: "came"},
				Spec: appsv1.ReplicaSetSpec{
					Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "came"}},
					Template: corev1.PodTemplateSpec{
						ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "came", webhook.Label: "true"}, Annotations: came.Annotations},
						Spec:       came.Spec,
					},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "a pod of the ReplicaSet", func(ctx context.Context) error {
				pods, err := in.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=came"})
				if err != nil {
					return err
				}
				if len(pods.Items) == 0 {
					return errors.New("there is none")
				}
				in.checkRewritten(t, "a ReplicaSet's", &pods.Items[0], rewriter.first)
				return nil
			})
		})
	}
}

// injectedBefore returns a pod that an older webhook injected, as `kubectl get -o yaml`
// prints it. Another pod can be made from it.
func (in *installed) injectedBefore(t *testing.T, namespace string) *corev1.Pod {
	t.Helper()
	made, err := in.create(t, namespace, labelled(nil))
	if err != nil {
		t.Fatal(err)
	}
	pod := copyOf(made)
	pod.Spec.InitContainers[0].Args = append(pod.Spec.InitContainers[0].Args, "--log-level=debug")
	pod.Spec.InitContainers[1].Image = "registry.example/older:0"
	var status map[string]any
	if err := json.Unmarshal([]byte(pod.Annotations[webhook.AnnotationStatus]), &status); err != nil {
		t.Fatal(err)
	}
	status["version"], status["hash"] = "v0", "00"
	text, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	pod.Annotations[webhook.AnnotationStatus] = string(text)
	return pod
}

// copyOf returns a pod that copies an existing one, with its managedFields.
func copyOf(made *corev1.Pod) *corev1.Pod {
	pod := made.DeepCopy()
	pod.Name, pod.ResourceVersion, pod.UID = "", "", ""
	return pod
}

// checkRewritten expects the pod to be as the chart's webhook makes it, with the
// rewriter's images.
func (in *installed) checkRewritten(t *testing.T, what string, pod *corev1.Pod, first bool) {
	t.Helper()
	init := pod.Spec.InitContainers
	chart := in.images(t)
	images := []string{mirror + chart.InitRedirect, mirror + chart.ProxyClient}
	if len(init) < 3 || init[0].Name != initRedirect || init[1].Name != proxyClient || first != (init[2].Name == mesh) {
		t.Fatalf("%s: the init containers are %+v", what, init)
	}
	if got := []string{init[0].Image, init[1].Image}; !slices.Equal(got, images) {
		t.Errorf("%s: our images are %q, want %q", what, got, images)
	}
	if slices.Contains(init[0].Args, "--log-level=debug") {
		t.Errorf("%s: the older version's arguments are left: %q", what, init[0].Args)
	}
}

// testForgery: the author of a pod can write everything that the webhook writes. The
// containers with our names are the webhook's all the same.
func (in *installed) testForgery(t *testing.T) {
	namespace := in.namespace(t, "forged", nil)
	made, err := in.create(t, namespace, labelled(nil))
	if err != nil {
		t.Fatal(err)
	}
	forge := func(image string) *corev1.Pod {
		pod := copyOf(made)
		pod.ManagedFields = nil
		pod.Spec.InitContainers[0].Image = image
		pod.Spec.InitContainers[0].Env = []corev1.EnvVar{{Name: "INIT_REDIRECT_EXCLUDE_CIDR", Value: "10.250.0.0/16"}}
		pod.Spec.InitContainers[1].VolumeMounts = append(pod.Spec.InitContainers[1].VolumeMounts,
			corev1.VolumeMount{Name: "shoot-proxy-run", MountPath: "/proxy-client", SubPath: "evil"})
		return pod
	}
	images := []string{made.Spec.InitContainers[0].Image, "evil.example/init-redirect:1"}
	manages := func(fields string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{
			Manager: "webhook.test", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
		}}
	}
	for name, change := range map[string]func(*corev1.Pod){
		"as it was":                 func(p *corev1.Pod) { p.ManagedFields = made.ManagedFields },
		"no managedFields":          func(*corev1.Pod) {},
		"managedFields of its own":  func(p *corev1.Pod) { p.ManagedFields = manages(`{"f:metadata":{"f:labels":{}}}`) },
		"empty managedFields":       func(p *corev1.Pod) { p.ManagedFields = manages(`{}`) },
		"managedFields of nonsense": func(p *corev1.Pod) { p.ManagedFields = manages(`{"x:nonsense":{}}`) },
		"managedFields of a version that is none": func(p *corev1.Pod) {
			p.ManagedFields = manages(`{}`)
			p.ManagedFields[0].APIVersion = "example.org/v1"
		},
		"the mark of a pod that came injected": func(p *corev1.Pod) {
			metav1.SetMetaDataAnnotation(&p.ObjectMeta, webhook.AnnotationPrefix+"renewed", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, image := range images {
				pod := forge(image)
				change(pod)
				got, err := in.create(t, namespace, pod)
				if err != nil {
					t.Fatal(err)
				}
				checkSame(t, made, got)
			}
		})
	}
	t.Run("server-side apply", func(t *testing.T) {
		for i, image := range images {
			pod := forge(image)
			pod.Name, pod.TypeMeta = fmt.Sprintf("applied-%d", i), metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
			text, err := json.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			got, err := in.client.CoreV1().Pods(namespace).Patch(t.Context(), pod.Name, types.ApplyPatchType, text, metav1.PatchOptions{FieldManager: "author"})
			if err != nil {
				t.Fatal(err)
			}
			checkSame(t, made, got)
		}
	})
}

// checkSame expects the init containers of both pods to be the same.
func checkSame(t *testing.T, want, got *corev1.Pod) {
	t.Helper()
	if diff := cmp.Diff(anonymous(t, want).InitContainers, anonymous(t, got).InitContainers); diff != "" {
		t.Errorf("forged, it is another pod (-want +got):\n%s", diff)
	}
}
