// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// The tests here change the webhook of the whole cluster. They do not run in parallel
// with others.

// oldChart stands for the release before this one; testdata/README.md describes it.
const (
	oldChart   = "testdata/proxy-client-0.0.1.tgz"
	oldVersion = "0.0.1"
)

// TestNoPodIsRefusedWhileTheWebhookIsRolledOut does not prove that --shutdown-delay is
// needed. Here kube-proxy mostly knows of a pod's end before its SIGTERM.
// TestNewConnectionsAreServedDuringTheShutdownDelay of webhook/serve proves what the
// delay does.
func TestNoPodIsRefusedWhileTheWebhookIsRolledOut(t *testing.T) {
	n := newNeighbourhood(t)
	deployment := n.deploy(t, native)
	old := n.awaitOther(t, native.String(), nil)
	b := n.startBirths(t)
	n.kubectl(t, "--namespace", clustertest.WebhookNamespace, "rollout", "restart", "deployment", clustertest.WebhookDeployment)
	n.kubectl(t, "--namespace", n.namespace, "rollout", "restart", "deployment", deployment.Name)
	n.AwaitWebhookRollout(t)
	pod := n.awaitOther(t, native.String(), old)
	wantInjected(t, pod)
	n.askedFromItsStart(t, pod)
	b.wantAllGood(t)
}

func TestUpgradeFromThePreviousChart(t *testing.T) {
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	tagImages(t, rig)
	rig.UninstallWebhook(t)
	installOld(t, rig)
	n := neighbourhoodOf(t, rig)
	deployment := n.deploy(t, native)
	old := n.awaitOther(t, native.String(), nil)
	if image := clustertest.Container(old, proxyClient).Image; !strings.HasSuffix(image, ":"+oldVersion) {
		t.Errorf("the old webhook injected image %s", image)
	}
	open := n.connect(t, old, startEcho(t, n.Shoot))
	certificate := n.certificate(t)

	b := n.startBirths(t)
	n.InstallWebhook(t)
	n.AwaitWebhookRollout(t)
	b.wantAllGood(t)
	if n.certificate(t) != certificate {
		t.Error("the upgrade has changed the webhook's certificate")
	}
	n.wantUndisturbed(t, old, proxyClient, app)
	open.wantOpen(t)
	n.reaches(t, old)

	n.kubectl(t, "--namespace", n.namespace, "rollout", "restart", "deployment", deployment.Name)
	pod := n.awaitOther(t, native.String(), old)
	wantInjected(t, pod)
	for i := range pod.Spec.InitContainers {
		if c := pod.Spec.InitContainers[i]; c.Image == old.Spec.InitContainers[i].Image {
			t.Errorf("the new pod has the old image %s", c.Image)
		}
	}
	n.askedFromItsStart(t, pod)
}

// tagImages gives the images of the running webhook, and those that it injects, the tag
// of the old version, too.
func tagImages(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	d := rig.Seed.AwaitDeployment(t, clustertest.WebhookNamespace, clustertest.WebhookDeployment, clustertest.Available)
	images := []string{d.Spec.Template.Spec.Containers[0].Image}
	injected, _ := injectionConfig(t, rig)["images"].(map[string]any)
	for _, image := range injected {
		images = append(images, fmt.Sprint(image))
	}
	if len(images) != 3 {
		t.Fatalf("the webhook and its configuration name the images %q, want three", images)
	}
	for _, image := range images {
		name, _, _ := strings.Cut(image, "@")
		_, err := rig.Seed.Node.Run(clustertest.Context(t), "ctr", "--namespace", "k8s.io", "images", "tag", "--force", image, name+":"+oldVersion)
		if err != nil {
			t.Fatal(err)
		}
	}
}

// installOld installs the old chart, with the usual values.
func installOld(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte(clustertest.WebhookValues()), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := rig.Seed.Helm(t, "install", clustertest.WebhookRelease, oldChart, "--namespace", clustertest.WebhookNamespace, "--create-namespace",
		"--values", values, "--set", "images.registry=registry.example")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rig.Seed.AwaitDeployment(t, clustertest.WebhookNamespace, clustertest.WebhookDeployment, clustertest.Available)
}

// certificate returns the webhook's certificate, with its CA.
func (n *neighbourhood) certificate(t *testing.T) string {
	t.Helper()
	secrets, err := n.Seed.Client.CoreV1().Secrets(clustertest.WebhookNamespace).List(clustertest.Context(t), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets.Items {
		if text := secret.Data[corev1.TLSCertKey]; len(text) != 0 {
			return string(text) + string(secret.Data["ca.crt"])
		}
	}
	t.Fatal("no Secret has the webhook's certificate")
	return ""
}

// TestWebhookNamespaceIsDeletedAndInstalledAgain: the MutatingWebhookConfiguration is in
// no namespace. It stays, and refuses pods.
func TestWebhookNamespaceIsDeletedAndInstalledAgain(t *testing.T) {
	n := newNeighbourhood(t)
	deployment := n.deploy(t, native)
	old := n.awaitOther(t, native.String(), nil)
	pod := n.run(t, "running", n.template(native, asksOn))
	open := n.connect(t, pod, startEcho(t, n.Shoot))

	n.kubectl(t, "delete", "namespace", clustertest.WebhookNamespace)
	if err := n.bear(t.Context(), n.template(native, asksOnce)); !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `failed calling webhook "inject.shoot-proxy.io"`) {
		t.Errorf("a labelled pod without the webhook: %v", err)
	}
	bare := n.template(native, "exit 0")
	bare.Labels = nil
	if err := n.bear(t.Context(), bare); err == nil || apierrors.IsInternalError(err) {
		t.Errorf("a pod without the label, which should only lack what is injected: %v", err)
	}
	if err := n.Seed.Client.CoreV1().Pods(n.namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	n.Seed.AwaitEvent(t, n.namespace, "", func(e *corev1.Event) bool {
		return e.Reason == "FailedCreate" && strings.Contains(e.Message, `failed calling webhook "inject.shoot-proxy.io"`)
	})
	n.Seed.AwaitGone(t, old)
	open.wantOpen(t)
	n.reaches(t, pod)

	n.InstallWebhook(t)
	n.wantUndisturbed(t, pod, proxyClient, app)
	open.wantOpen(t)
	again := n.awaitOther(t, deployment.Name, old)
	wantInjected(t, again)
	n.askedFromItsStart(t, again)
}
