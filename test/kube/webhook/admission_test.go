// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/webhook"
)

func isNotFound(err error) bool { return apierrors.IsNotFound(err) }

func (in *installed) testLabelled(t *testing.T) {
	namespace := in.namespace(t, "labelled", nil)
	pod, err := in.create(t, namespace, labelled(nil))
	if err != nil {
		t.Fatal(err)
	}
	in.checkInjected(t, pod)
	if got := flag(t, pod, initRedirect, "shoot-pod-cidr"); got != "100.64.0.0/12" {
		t.Errorf("init-redirect's --shoot-pod-cidr is %s, want the operator's", got)
	}
	// Our containers do not need the API server.
	for _, c := range pod.Spec.InitContainers[:2] {
		for _, m := range c.VolumeMounts {
			if strings.HasPrefix(m.Name, "kube-api-access-") {
				t.Errorf("%s has the pod's ServiceAccount token", c.Name)
			}
		}
	}
	// Everything else is as in a pod that is not injected.
	plain, err := in.create(t, namespace, unlabelled())
	if err != nil {
		t.Fatal(err)
	}
	app := pod.DeepCopy()
	app.Spec.InitContainers = app.Spec.InitContainers[2:]
	app.Spec.ImagePullSecrets = nil // see testPodParts
	app.Spec.Volumes = slices.DeleteFunc(app.Spec.Volumes, func(v corev1.Volume) bool { return strings.HasPrefix(v.Name, "shoot-proxy-") })
	if diff := cmp.Diff(anonymous(t, plain), anonymous(t, app)); diff != "" {
		t.Errorf("the injection changed what is the pod's own (-not injected +injected):\n%s", diff)
	}
}

// testFiles: with only the webhook's configuration, `webhook inject` makes the same pod
// as the webhook.
func (in *installed) testFiles(t *testing.T) {
	namespace := in.namespace(t, "files", nil)
	pod := labelled(nil)
	pod.Spec.AutomountServiceAccountToken = new(false) // kube-apiserver then makes up no name
	byWebhook, err := in.rehearse(t, namespace, pod)
	if err != nil {
		t.Fatal(err)
	}
	byFile := in.inject(t, namespace, pod)
	in.checkInjected(t, byFile)
	// The status has a hash of everything that was added.
	if diff := cmp.Diff(byWebhook.Annotations, byFile.Annotations); diff != "" {
		t.Errorf("annotations (-webhook +webhook inject):\n%s", diff)
	}
	stored, err := in.rehearse(t, namespace, byFile) // with the defaults of kube-apiserver
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(byWebhook.Spec, stored.Spec); diff != "" {
		t.Errorf("the pod (-webhook +webhook inject):\n%s", diff)
	}
}

// anonymous returns a pod's spec without the name that kube-apiserver makes up for the
// volume of its ServiceAccount.
func anonymous(t testing.TB, pod *corev1.Pod) corev1.PodSpec {
	t.Helper()
	spec := pod.Spec.DeepCopy()
	found := false
	for i := range spec.Volumes {
		if strings.HasPrefix(spec.Volumes[i].Name, "kube-api-access-") {
			found = true
			for _, containers := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
				for _, c := range containers {
					for m := range c.VolumeMounts {
						if c.VolumeMounts[m].Name == spec.Volumes[i].Name {
							c.VolumeMounts[m].Name = "kube-api-access"
						}
					}
				}
			}
			spec.Volumes[i].Name = "kube-api-access"
		}
	}
	if !found {
		t.Error("the pod has no ServiceAccount mounted")
	}
	return *spec
}

func (in *installed) testUnlabelled(t *testing.T) {
	namespace := in.namespace(t, "unlabelled", nil)
	for name, pod := range map[string]*corev1.Pod{
		"no label":         unlabelled(),
		"false":            labelled(nil, func(p *corev1.Pod) { p.Labels[webhook.Label] = "false" }),
		"annotation alone": labelled(map[string]string{"mode": "grpc"}, func(p *corev1.Pod) { p.Labels = nil; p.Annotations = nil }),
	} {
		made, err := in.create(t, namespace, pod)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkUntouched(t, made)
	}
	// Pods that the webhook itself needs have to start without it.
	in.furnished(t, metav1.NamespaceSystem)
	for _, namespace := range []string{releaseNamespace, metav1.NamespaceSystem} {
		made, err := in.rehearse(t, namespace, labelled(nil, harmless))
		if err != nil {
			t.Errorf("%s: %v", namespace, err)
			continue
		}
		checkUntouched(t, made)
	}
}

func (in *installed) testRefused(t *testing.T) {
	namespace := in.namespace(t, "refused", nil)
	uid := int64(lab.ProxyUID)
	for name, pod := range map[string]*corev1.Pod{
		"label True":           labelled(nil, func(p *corev1.Pod) { p.Labels[webhook.Label] = "True" }),
		"label empty":          labelled(nil, func(p *corev1.Pod) { p.Labels[webhook.Label] = "" }),
		"bad CIDR":             labelled(map[string]string{"pod-cidrs": "100.64.0.0/33"}),
		"bad port":             labelled(map[string]string{"exclude-ports": "ssh"}),
		"bad mode":             labelled(map[string]string{"mode": "carrier-pigeon"}),
		"unknown annotation":   labelled(map[string]string{"pod-cidr": "100.64.0.0/12"}),
		"locked":               labelled(map[string]string{"proxy-server": "elsewhere.example:8090"}),
		"ConfigMap unlisted":   labelled(map[string]string{"config": "kube-root-ca.crt"}),
		"halves":               labelled(map[string]string{"pod-cidrs": "0.0.0.0/1,128.0.0.0/1"}),
		"host network":         labelled(nil, func(p *corev1.Pod) { p.Spec.HostNetwork = true }),
		"Windows":              labelled(nil, func(p *corev1.Pod) { p.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }),
		"proxy uid":            labelled(nil, func(p *corev1.Pod) { p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsUser: &uid} }),
		"proxy uid of the pod": labelled(nil, func(p *corev1.Pod) { p.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &uid} }),
		"port collision": labelled(nil, func(p *corev1.Pod) {
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: lab.ProxyPort}}
		}),
		"mount of our volume": labelled(nil, func(p *corev1.Pod) {
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "shoot-proxy-client-tls", MountPath: "/key"}}
		}),
		"foreign container": labelled(nil, func(p *corev1.Pod) { p.Spec.Containers[0].Name = proxyClient }),
		"Job, classic order": labelled(map[string]string{"native-sidecar": "false"}, func(p *corev1.Pod) {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: "job", UID: "1", Controller: &yes}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			made, err := in.create(t, namespace, pod)
			if err == nil {
				t.Fatalf("was created as %s", made.Name)
			}
			if !apierrors.IsForbidden(err) {
				t.Errorf("the API server's answer is %v, want that it is forbidden", apierrors.ReasonForError(err))
			}
			said := sentence(t, err)
			explanation, code := in.explain(t, namespace, pod)
			if !strings.Contains(explanation, said) {
				t.Errorf("the API server says\n%s\nand explain\n%s", said, explanation)
			}
			if code != 1 {
				t.Errorf("explain's exit code is %d, want 1: the pod is refused", code)
			}
		})
	}
	pods, err := in.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(pods.Items) != 0 {
		t.Errorf("%d refused pods are there", len(pods.Items))
	}
}

func (in *installed) testWarning(t *testing.T) {
	namespace := in.namespace(t, "warning", nil)
	yes := true
	pod, err := in.create(t, namespace, labelled(nil, func(p *corev1.Pod) { p.Spec.ShareProcessNamespace = &yes }))
	if err != nil {
		t.Fatal(err)
	}
	in.checkInjected(t, pod)
	said := in.warnings.take()
	if !slices.ContainsFunc(said, func(w string) bool { return strings.Contains(w, "processes are shared") }) {
		t.Errorf("the API server warns %q, want that processes are shared", said)
	}
	for _, warning := range said {
		if len([]rune(warning)) > 120 {
			t.Errorf("a warning is longer than 120 characters: %s", warning)
		}
	}
}

func (in *installed) testDryRun(t *testing.T) {
	namespace := in.namespace(t, "rehearsed", nil)
	before := in.inventory(t, namespace)
	pod, err := in.rehearse(t, namespace, labelled(nil))
	if err != nil {
		t.Fatal(err)
	}
	in.checkInjected(t, pod)
	_, err = in.rehearse(t, namespace, labelled(map[string]string{"mode": "carrier-pigeon"}))
	_ = sentence(t, err)
	if diff := cmp.Diff(before, in.inventory(t, namespace)); diff != "" {
		t.Errorf("a dry run changed the namespace (-before +after):\n%s", diff)
	}
}

// inventory returns everything in a namespace, with its version.
func (s *system) inventory(t testing.TB, namespace string) map[string]string {
	t.Helper()
	lists, err := s.client.Discovery().ServerPreferredNamespacedResources()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, list := range lists {
		for _, kind := range list.APIResources {
			if !slices.Contains(kind.Verbs, "list") {
				continue
			}
			objects, err := s.dynamic.Resource(resourceOf(t, list, kind)).Namespace(namespace).List(t.Context(), metav1.ListOptions{})
			if err != nil {
				t.Fatalf("list %s: %v", kind.Name, err)
			}
			for _, object := range objects.Items {
				all[list.GroupVersion+" "+kind.Name+" "+object.GetName()] = object.GetResourceVersion()
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("there is nothing in namespace %s, not even its ServiceAccount", namespace)
	}
	return all
}
