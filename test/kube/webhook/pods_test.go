// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// Names of the product's containers:
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"
)

// labelled returns a pod with the label that asks for injection. Annotations are given
// without their prefix. The test may change the pod further.
func labelled(annotations map[string]string, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := unlabelled()
	pod.Labels = map[string]string{webhook.Label: "true"}
	for name, value := range annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, webhook.AnnotationPrefix+name, value)
	}
	for _, c := range change {
		c(pod)
	}
	return pod
}

// harmless changes a pod so that Pod Security's strictest level accepts it.
func harmless(pod *corev1.Pod) {
	yes, no := true, false
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			containers[i].SecurityContext = &corev1.SecurityContext{
				RunAsNonRoot: &yes, AllowPrivilegeEscalation: &no,
				Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			}
		}
	}
}

func unlabelled() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "app-"},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: "prepare", Image: "registry.example/app:1"}},
			Containers:     []corev1.Container{{Name: "app", Image: "registry.example/app:1"}},
		},
	}
}

// create makes a pod, as `kubectl create` does.
func (s *system) create(t testing.TB, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	t.Helper()
	return s.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
}

// rehearse does the same as create, as a server-side dry run.
func (s *system) rehearse(t testing.TB, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	t.Helper()
	return s.client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// checkInjected expects both containers in front, as the native sidecar. They must have
// the images that the chart names. The status annotation must be there.
func (h *hook) checkInjected(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	var names, images []string
	for _, c := range pod.Spec.InitContainers {
		names, images = append(names, c.Name), append(images, c.Image)
	}
	if len(names) < 2 || names[0] != initRedirect || names[1] != proxyClient {
		t.Fatalf("the pod's init containers are %q, want %s and %s first", names, initRedirect, proxyClient)
	}
	chart := h.images(t)
	want := []string{chart.InitRedirect, chart.ProxyClient}
	if !slices.Equal(images[:2], want) {
		t.Errorf("their images are %q, want %q", images[:2], want)
	}
	if policy := pod.Spec.InitContainers[1].RestartPolicy; policy == nil || *policy != corev1.ContainerRestartPolicyAlways {
		t.Errorf("proxy-client's restartPolicy is %v, want Always: every node runs native sidecars", policy)
	}
	if pod.Annotations[webhook.AnnotationStatus] == "" {
		t.Errorf("the pod has no annotation %s: %v", webhook.AnnotationStatus, pod.Annotations)
	}
}

// checkUntouched expects no part of the injection in a pod.
func checkUntouched(t testing.TB, pod *corev1.Pod) {
	t.Helper()
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if c.Name == initRedirect || c.Name == proxyClient {
			t.Errorf("the pod has container %s", c.Name)
		}
	}
	for name := range pod.Annotations {
		if strings.HasPrefix(name, webhook.AnnotationPrefix) {
			t.Errorf("the pod has annotation %s", name)
		}
	}
	for _, volume := range pod.Spec.Volumes {
		if !strings.HasPrefix(volume.Name, "kube-api-access-") {
			t.Errorf("the pod has volume %s", volume.Name)
		}
	}
}

// flag returns the value of an argument of one of a pod's init containers.
func flag(t testing.TB, pod *corev1.Pod, container, name string) string {
	t.Helper()
	for _, c := range pod.Spec.InitContainers {
		if c.Name == container {
			return argument(t, c.Args, name)
		}
	}
	t.Fatalf("the pod has no init container %s", container)
	return ""
}

// sentence returns the webhook's sentence in a refusal of kube-apiserver's.
func sentence(t testing.TB, err error) string {
	t.Helper()
	if err == nil {
		t.Fatal("the pod was not refused")
	}
	_, said, found := strings.Cut(err.Error(), "denied the request: ")
	if !found {
		t.Fatalf("the webhook did not refuse the pod: %v", err)
	}
	return said
}

// images returns the images that the chart names.
func (h *hook) images(t testing.TB) webhook.Images {
	t.Helper()
	text, err := os.ReadFile(h.config)
	if err != nil {
		t.Fatal(err)
	}
	var config struct{ Images webhook.Images }
	if err := yaml.Unmarshal(text, &config); err != nil || config.Images.ProxyClient == "" || config.Images.InitRedirect == "" {
		t.Fatalf("the chart's configuration names no images (%v):\n%s", err, text)
	}
	return config.Images
}

// explain returns what `webhook explain` prints about a pod, with the webhook's own
// configuration, and its exit code.
func (h *hook) explain(t testing.TB, namespace string, pod *corev1.Pod, flags ...string) (string, int) {
	t.Helper()
	var output bytes.Buffer
	cmd := h.onFile(t, "explain", namespace, pod, flags...)
	cmd.Stdout, cmd.Stderr = &output, &output
	_ = cmd.Run() // its exit code is read below
	return output.String(), cmd.ProcessState.ExitCode()
}

// inject returns the pod that `webhook inject` makes of a pod, with the webhook's own
// configuration.
func (h *hook) inject(t testing.TB, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	var stderr bytes.Buffer
	cmd := h.onFile(t, "inject", namespace, pod)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("webhook inject: %v\n%s", err, &stderr)
	}
	injected := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(text, injected); err != nil {
		t.Fatalf("webhook inject makes no pod: %v\n%s", err, text)
	}
	return injected
}

// onFile returns a command of webhook's that has a pod on its standard input.
func (h *hook) onFile(t testing.TB, command, namespace string, pod *corev1.Pod, flags ...string) *exec.Cmd {
	t.Helper()
	manifest, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), h.system.webhook, append([]string{command, "-f", "-", "--config", h.config, "--namespace", namespace}, flags...)...)
	cmd.Stdin = bytes.NewReader(manifest)
	return cmd
}

func encode(text []byte) string { return base64.StdEncoding.EncodeToString(text) }
