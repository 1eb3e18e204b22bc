// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Names of the webhook's installation in the seed:
const (
	// WebhookNamespace has only the webhook in it.
	WebhookNamespace = "shoot-proxy"
	// WebhookRelease is helm's name for it.
	WebhookRelease = "proxy-client"
	// WebhookDeployment is the name that the chart gives for that release. The Service,
	// the ServiceAccount and the MutatingWebhookConfiguration have the same name.
	WebhookDeployment = WebhookRelease + "-webhook"
)

// InjectLabel is the label that asks for the injection of a pod, by the value "true".
const InjectLabel = "shoot-proxy.io/inject"

// installedAs is an annotation of helm's own Secret. By it InstallWebhook recognizes an
// installation of the same chart and values.
const installedAs = "test.shoot-proxy.io/installed-as"

// InstallWebhook installs the chart of `make release` with helm, with its images, for the
// shoot and its proxy-server for gRPC. It returns once the webhook injects pods. If the
// webhook already does, InstallWebhook does nothing. Each test that needs the webhook
// therefore calls it, after t.Parallel if it calls that.
//
// The documents are more values, as YAML. The last one takes precedence. A test that
// passes some must not run in parallel with others. The next test gets the usual ones
// again.
func (r *Rig) InstallWebhook(t testing.TB, documents ...string) {
	t.Helper()
	defer r.lock(t, "webhook")()
	chart := Chart(t)
	values := append([]string{WebhookValues()}, documents...)
	want := fingerprint(t, chart, values)
	if release := r.newestRelease(t); release == nil || release.Annotations[installedAs] != want {
		r.Seed.helmUpgrade(t, chart, values)
		r.markRelease(t, want)
	}
	r.AwaitWebhookRollout(t)
	Eventually(t, "the webhook to inject a pod", r.Seed.injects)
}

// AwaitWebhookRollout waits until the webhook has only pods of its present template. A pod
// of an earlier one still answers while it ends, with its own configuration.
func (r *Rig) AwaitWebhookRollout(t testing.TB) {
	t.Helper()
	d := r.Seed.AwaitDeployment(t, WebhookNamespace, WebhookDeployment, Available)
	pods := metav1.ListOptions{LabelSelector: metav1.FormatLabelSelector(d.Spec.Selector)}
	Eventually(t, "the end of the webhook's old pods", func(ctx context.Context) error {
		found, err := r.Seed.Client.CoreV1().Pods(WebhookNamespace).List(ctx, pods)
		if err == nil && len(found.Items) != int(*d.Spec.Replicas) {
			err = fmt.Errorf("there are %d pods", len(found.Items))
		}
		return err
	})
}

// UninstallWebhook removes what InstallWebhook has installed, with its namespace. The
// test can then install it in another way. Such a test must not run in parallel with
// others.
func (r *Rig) UninstallWebhook(t testing.TB) {
	t.Helper()
	if err := r.uninstallWebhook(Context(t), t); err != nil {
		t.Fatal(err)
	}
}

// UninstallWebhookAtEnd calls [Rig.UninstallWebhook] once the test has ended.
func (r *Rig) UninstallWebhookAtEnd(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), Limit)
		defer cancel()
		if err := r.uninstallWebhook(ctx, t); err != nil {
			t.Error(err)
		}
	})
}

func (r *Rig) uninstallWebhook(ctx context.Context, t testing.TB) error {
	t.Helper()
	defer r.lock(t, "webhook")()
	out, err := r.Seed.helm(ctx, t, "uninstall", WebhookRelease, "--namespace", WebhookNamespace, "--ignore-not-found", "--wait")
	if err != nil {
		return fmt.Errorf("helm uninstall: %w\n%s", err, out)
	}
	err = r.Seed.Client.CoreV1().Namespaces().Delete(ctx, WebhookNamespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	return lab.Poll(ctx, "the end of namespace "+WebhookNamespace, func(ctx context.Context) error {
		return r.Seed.NamespaceGone(ctx, WebhookNamespace)
	})
}

// injects checks that the webhook injects a labelled pod, with a dry run.
func (c *Cluster) injects(ctx context.Context) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "dry-run-", Labels: map[string]string{InjectLabel: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	made, err := c.Client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return err
	}
	if len(made.Spec.InitContainers) != 2 {
		return fmt.Errorf("a labelled pod has %d init containers, and not the two that the webhook adds", len(made.Spec.InitContainers))
	}
	return nil
}

func (c *Cluster) helmUpgrade(t testing.TB, chart string, values []string) {
	t.Helper()
	args := []string{"upgrade", "--install", WebhookRelease, chart, "--namespace", WebhookNamespace, "--create-namespace", "--reset-values"}
	dir := t.TempDir()
	for i, text := range values {
		path := filepath.Join(dir, fmt.Sprintf("values-%d.yaml", i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--values", path)
	}
	if out, err := c.Helm(t, args...); err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// WebhookValues returns the values with the addresses of the shoot and its proxy-server.
func WebhookValues() string {
	return fmt.Sprintf(`
config:
  shoot:
    podCIDRs: [%s]
    serviceCIDRs: [%s]
    nodeCIDRs: [%s/32]
  proxyServer:
    addresses: ["%s.%s.svc:%d"]
    tls: {caSecret: %s, clientSecret: %s}
`, shoot.Pods, shoot.Services, shoot.Address, shoot.Service, shoot.Namespace, shoot.GRPCPort, shoot.CASecret, shoot.ClientSecret)
}

// Chart returns the path of the chart that `make release` has packed.
func Chart(t testing.TB) string {
	t.Helper()
	release, err := lab.ReleaseFolder()
	if err != nil {
		t.Fatal(err)
	}
	charts, err := filepath.Glob(filepath.Join(release, "proxy-client-*.tgz"))
	if err != nil {
		t.Fatal(err)
	}
	if len(charts) != 1 {
		t.Fatalf("%s has %d packed charts, %q, and the test needs one: run `make release VERSION=0.1.0 DIST=%[1]s`", release, len(charts), charts)
	}
	return charts[0]
}

// Helm runs helm with all rights and returns what it writes to both of its outputs.
func (c *Cluster) Helm(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return c.helm(Context(t), t, args...)
}

// helm also works when the test ends. ctx is not the test's then.
func (c *Cluster) helm(ctx context.Context, t testing.TB, args ...string) (string, error) {
	t.Helper()
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, filepath.Join(c.binaries, "tools-kube", "helm"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig,
		"HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// newestRelease returns the Secret in which helm keeps the newest installation, or nil if
// there is none.
func (r *Rig) newestRelease(t testing.TB) *corev1.Secret {
	t.Helper()
	secrets, err := r.Seed.Client.CoreV1().Secrets(WebhookNamespace).List(Context(t), metav1.ListOptions{LabelSelector: "owner=helm,name=" + WebhookRelease})
	if err != nil {
		t.Fatal(err)
	}
	if len(secrets.Items) == 0 {
		return nil
	}
	newest := slices.MaxFunc(secrets.Items, func(a, b corev1.Secret) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(len(a.Name), len(b.Name)), strings.Compare(a.Name, b.Name))
	})
	return &newest
}

func (r *Rig) markRelease(t testing.TB, as string) {
	t.Helper()
	release := r.newestRelease(t)
	if release == nil {
		t.Fatalf("helm has installed %s, but there is no Secret of it in namespace %s", WebhookRelease, WebhookNamespace)
	}
	if release.Annotations == nil {
		release.Annotations = map[string]string{}
	}
	release.Annotations[installedAs] = as
	if _, err := r.Seed.Client.CoreV1().Secrets(WebhookNamespace).Update(Context(t), release, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func fingerprint(t testing.TB, chart string, values []string) string {
	t.Helper()
	text, err := os.ReadFile(chart)
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	hash.Write(text)
	for _, v := range values {
		fmt.Fprintf(hash, "%d\n%s", len(v), v)
	}
	return hex.EncodeToString(hash.Sum(nil))
}
