// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// TestCertificateOfCertManager: an installation changes to cert-manager's certificate and
// back with only helm. It injects pods after each step.
func TestCertificateOfCertManager(t *testing.T) {
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	rig.InstallCertManager(t)
	rig.Seed.DumpIfFailed(t, clustertest.WebhookNamespace)
	rig.Seed.DumpIfFailed(t, image.CertManager)
	own := awaitTrust(t, rig.Seed, "-tls")

	rig.InstallWebhook(t, certManagerValues)
	issued := awaitTrust(t, rig.Seed, "-cert-manager-tls")
	wantReach(t, rig)
	wantForgotten(t, rig, own, issued)
	wantReach(t, rig)

	rig.InstallWebhook(t)
	if again := awaitTrust(t, rig.Seed, "-tls"); bytes.Equal(again, own) {
		t.Error("the webhook has the CA of before, whose Secret helm has deleted")
	}
	wantReach(t, rig)
}

const certManagerValues = "certificates: {mode: cert-manager}"

// wantForgotten removes kube-apiserver's CAs as docs/install.md says. cert-manager has
// kept the CA that the webhook had issued. Afterwards it must write only its own.
func wantForgotten(t *testing.T, rig *clustertest.Rig, own, issued []byte) {
	t.Helper()
	if bundle := trusted(clustertest.Context(t), t, rig.Seed); !bytes.Contains(bundle, own) {
		t.Errorf("kube-apiserver does not know the webhook's own CA any more, so pods were refused while it was replaced:\n%s", bundle)
	}
	const patch = `[{"op": "remove", "path": "/webhooks/0/clientConfig/caBundle"}]`
	if out, err := rig.Seed.Kubectl(t, "patch", "mutatingwebhookconfiguration", clustertest.WebhookDeployment, "--type=json", "--patch="+patch); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	clustertest.Eventually(t, "kube-apiserver to know cert-manager's CA alone", func(ctx context.Context) error {
		if bundle := trusted(ctx, t, rig.Seed); !bytes.Equal(bundle, issued) {
			return fmt.Errorf("it knows %q", bundle)
		}
		return nil
	})
	rig.InstallWebhook(t, certManagerValues) // everything is as before, and pods are injected
}

// wantReach makes a labelled pod, and expects that it reaches the shoot.
func wantReach(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	namespace := rig.Seed.Namespace(t)
	rig.ClientSecrets(t, namespace)
	pod := runClient(t, rig.Seed, namespace, image.Busybox, clustertest.InjectLabel+"=true")
	address := targets(clustertest.Context(t), t, rig)["a Service"]
	clustertest.Eventually(t, "an answer of a Service of the shoot", func(ctx context.Context) error {
		return exchange(ctx, rig.Seed, pod, address)
	})
}

// awaitTrust returns the CA of the certificate in one of the webhook's Secrets, once
// kube-apiserver trusts it. The suffix names the Secret. kube-apiserver may trust others
// too.
func awaitTrust(t *testing.T, c *clustertest.Cluster, suffix string) (ca []byte) {
	t.Helper()
	name := clustertest.WebhookDeployment + suffix
	clustertest.Eventually(t, "kube-apiserver to know the CA of Secret "+name, func(ctx context.Context) error {
		secret, err := c.Client.CoreV1().Secrets(clustertest.WebhookNamespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		ca = bytes.TrimSpace(secret.Data["ca.crt"])
		if bundle := trusted(ctx, t, c); len(ca) == 0 || !bytes.Contains(bundle, ca) {
			return fmt.Errorf("the Secret has CA %q, and kube-apiserver knows %q", ca, bundle)
		}
		return nil
	})
	return ca
}

// trusted returns the CAs with which kube-apiserver verifies the webhook.
func trusted(ctx context.Context, t *testing.T, c *clustertest.Cluster) []byte {
	t.Helper()
	configuration, err := c.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, clustertest.WebhookDeployment, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(configuration.Webhooks[0].ClientConfig.CABundle)
}
