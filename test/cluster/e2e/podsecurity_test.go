// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// TestPodSecurityRefusesAsDocumented: for a namespace that enforces a level of Pod
// Security, docs/webhook.md has the exact output of kubectl. The pod is allowed there
// without the label. With the label it is allowed once the namespace is as the warning
// says.
func TestPodSecurityRefusesAsDocumented(t *testing.T) {
	t.Parallel()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	address := targets(clustertest.Context(t), t, rig)["a pod"]
	documented := podSecurityTexts(t)
	for _, level := range []string{"baseline", "restricted"} {
		t.Run(level, func(t *testing.T) {
			namespace := rig.Seed.Namespace(t, "pod-security.kubernetes.io/enforce="+level)
			rig.ClientSecrets(t, namespace)
			plain := restrictedPod("plain", false)
			create(t, rig.Seed, namespace, plain)
			rig.Seed.AwaitPod(t, namespace, "plain", clustertest.Ready)

			pod := writeManifest(t, restrictedPod("app", true))
			printed, err := kubectlCreate(t, rig.Seed, namespace, pod)
			if err == nil {
				t.Error("kubectl has made the pod")
			}
			if !markdown.Matches(documented[level], printed) {
				t.Errorf("kubectl prints\n%s\nand docs/webhook.md says\n%s", printed, documented[level])
			}
			awaitRefusal(t, rig.Seed, namespace, "violates"+after(t, documented[level], "violates"))

			if out, err := rig.Seed.Kubectl(t, "label", "--overwrite", "namespace", namespace, privileged); err != nil {
				t.Fatal(out, err)
			}
			clustertest.Eventually(t, "no warning any more", func(context.Context) error {
				out, err := kubectlCreate(t, rig.Seed, namespace, pod, "--dry-run=server")
				if err == nil && strings.Contains(out, "Warning") {
					err = errors.New(out)
				}
				return err
			})
			if out, err := kubectlCreate(t, rig.Seed, namespace, pod); err != nil {
				t.Fatal(out, err)
			}
			made := rig.Seed.AwaitPod(t, namespace, "app", clustertest.Ready)
			clustertest.Eventually(t, "an answer of "+address, func(ctx context.Context) error {
				return exchange(ctx, rig.Seed, made, address)
			})
		})
	}
}

// awaitRefusal makes a Deployment whose pods are refused. It waits for an event of its
// ReplicaSet that says so.
func awaitRefusal(t *testing.T, c *clustertest.Cluster, namespace, words string) {
	t.Helper()
	template := restrictedPod("", true)
	template.Labels["app"] = "refused"
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "refused"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "refused"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: template.ObjectMeta, Spec: template.Spec},
		},
	}
	deployments := c.Client.AppsV1().Deployments(namespace)
	if _, err := deployments.Create(clustertest.Context(t), deployment, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(t, "an event that says "+words, func(ctx context.Context) error {
		events, err := c.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ReplicaSet,reason=FailedCreate"})
		if err != nil {
			return err
		}
		var last string
		for _, event := range events.Items {
			if last = event.Message; strings.Contains(last, words) {
				return nil
			}
		}
		return fmt.Errorf("of %d events the last says %q", len(events.Items), last)
	})
	if err := deployments.Delete(clustertest.Context(t), deployment.Name, metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// podSecurityTexts returns the documented texts, by the level that they name.
func podSecurityTexts(t *testing.T) map[string]string {
	t.Helper()
	document, err := markdown.Read(filepath.Join(repositoryRoot(t), "docs", "webhook.md"))
	if err != nil {
		t.Fatal(err)
	}
	texts, err := document.Texts("Pod Security")
	if err != nil || len(texts) != 2 {
		t.Fatalf("docs/webhook.md has %d texts about Pod Security, and 2 are expected: %v", len(texts), err)
	}
	byLevel := map[string]string{}
	for _, text := range texts {
		level, _, _ := strings.Cut(after(t, text, `Pod Security "`), `"`)
		byLevel[level] = text
	}
	return byLevel
}

// after returns the text that follows words in a text.
func after(t *testing.T, text, words string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, words)
	if !found {
		t.Fatalf("%q is not in:\n%s", words, text)
	}
	return rest
}

// restrictedPod is allowed by every level of Pod Security, so long as it is not labelled.
func restrictedPod(name string, labelled bool) *corev1.Pod {
	pod := clientPod(name, labelled)
	pod.Spec.SecurityContext = &corev1.PodSecurityContext{
		RunAsNonRoot: new(true), RunAsUser: new(int64(1000)),
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return pod
}

// writeManifest writes a pod into a file pod.yaml and returns its path.
func writeManifest(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	text, err := yaml.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// kubectlCreate returns what kubectl prints, as if it were run in the manifest's folder.
func kubectlCreate(t *testing.T, c *clustertest.Cluster, namespace, manifest string, flags ...string) (string, error) {
	t.Helper()
	out, err := c.Kubectl(t, append([]string{"--namespace", namespace, "create", "--filename", manifest}, flags...)...)
	return strings.ReplaceAll(out, manifest, filepath.Base(manifest)), err
}
