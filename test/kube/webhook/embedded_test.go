// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/shoot-proxy/proxy-client/test/kube/cluster"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// testPod is the pod that `helm test` makes.
const testPod = release + "-webhook-test"

// TestEmbeddedChart installs a parent chart that contains ours, tests it with `helm
// test`, and removes it. Helm does all of that. As in TestManagedCertificates, no
// character of the rendered chart is changed, and the test does what a kubelet does.
func TestEmbeddedChart(t *testing.T) {
	t.Parallel()
	services := fmt.Sprintf("127.%d.%d.0/24", 128+os.Getpid()>>8%64, os.Getpid()%256)
	requireLowPorts(t)
	s := newSystem(t, cluster.Options{ServiceCIDR: services})
	s.node(t, "new", "v1.36.0")
	parent := s.parentChart(t)
	s.helm(t, "install", release, parent, "--namespace", releaseNamespace, "--create-namespace")
	s.furnished(t, releaseNamespace)
	chart := s.renderChart(t, parent)

	service, err := s.client.CoreV1().Services(releaseNamespace).Get(t.Context(), chart.of(t, "Service").GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	certs := filepath.Join(s.Dir, "certs")
	h := newHook(t, s, chart, net.JoinHostPort(service.Spec.ClusterIP, "443"), certs)
	s.mount(t, argument(t, h.args, "secret-name"), certs)
	h.start(t)
	if said := s.helmTest(t, parent); !strings.Contains(said, `namespace "default" is injected`) {
		t.Errorf("the pod of helm test says %s", said)
	}
	s.wantOnlyPodLeft(t, parent)
	// Without a webhook `helm test` fails, and leaves no rights behind either.
	h.stop(t)
	if said := s.helmTest(t, parent); !strings.Contains(said, "the API server cannot ask the webhook: ") {
		t.Errorf("without a webhook the pod of helm test says %s", said)
	}
	s.wantOnlyPodLeft(t, parent)
	s.helm(t, "upgrade", release, parent, "--namespace", releaseNamespace, "--set", "proxy-client.enabled=false")
	s.absent(t, chart)
}

// parentChart makes a chart that embeds ours as docs say, and returns its folder.
func (s *system) parentChart(t *testing.T) string {
	t.Helper()
	ours, err := filepath.Abs(s.programs.chart)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(s.Dir, "parent")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"Chart.yaml": `apiVersion: v2
name: parent
version: 1.0.0
dependencies:
  - {name: proxy-client, version: ">=0.0.0-0", repository: "file://` + ours + `", condition: proxy-client.enabled}
`,
		"values.yaml": `global: {imageRegistry: mirror.example, imagePullSecrets: [mirror]}
proxy-client:
  enabled: true
  x-mine: {a: b}
  commonLabels: {team: network}
  podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}
  extraArgs: [--shutdown-delay=0s]
  config:
    shoot: {podCIDRs: [100.64.0.0/12]}
    proxyServer:
      addresses: ["vpn-proxy-server:8090"]
      tls: {caSecret: ca-proxy, clientSecret: proxy-client-tls}
`,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s.helm(t, "dependency", "update", folder)
	return folder
}

// helm runs helm with all rights in the cluster, and without the settings of the user who
// runs the test.
func (s *system) helm(t testing.TB, args ...string) string {
	t.Helper()
	out, err := s.tryHelm(t, args...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (s *system) tryHelm(t testing.TB, args ...string) (string, error) {
	t.Helper()
	kubeconfig, err := s.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, patience), s.programs.helm, args...)
	cmd.Env = []string{
		"HOME=" + s.Dir, "HELM_CONFIG_HOME=" + s.Dir, "HELM_CACHE_HOME=" + s.Dir, "HELM_DATA_HOME=" + s.Dir, "KUBECONFIG=" + kubeconfig,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// renderChart returns what helm installs of a chart. hooks returns what helm makes for
// the chart's test.
func (s *system) renderChart(t *testing.T, folder string) manifests {
	t.Helper()
	return parse(t, folder, []byte(s.helm(t, "template", release, folder, "--namespace", releaseNamespace, "--skip-tests")))
}

func (s *system) hooks(t *testing.T, folder string) manifests {
	t.Helper()
	var all manifests
	for _, object := range parse(t, folder, []byte(s.helm(t, "template", release, folder, "--namespace", releaseNamespace))) {
		if object.GetAnnotations()["helm.sh/hook"] == "test" {
			all = append(all, object)
		}
	}
	if len(all) == 0 {
		t.Fatal("the chart has no test")
	}
	return all
}

// helmTest runs `helm test`, runs the test's pod as a kubelet would, and returns the
// pod's output. Helm has to report the pod's result.
func (s *system) helmTest(t *testing.T, folder string) string {
	t.Helper()
	pod := s.hooks(t, folder).of(t, "Pod")
	before := s.uid(t)
	type result struct {
		said string
		code int
	}
	ran := make(chan result, 1)
	ctx, cancel := context.WithCancel(within(t, patience))
	defer cancel()
	go func() {
		defer close(ran)
		if err := lab.Poll(ctx, "the pod of helm test", func(ctx context.Context) error { return s.newPod(ctx, before) }); err != nil {
			return // helm reports why there is none
		}
		said, code := s.runPod(t, ctx, pod)
		ran <- result{said, code}
	}()
	out, err := s.tryHelm(t, "test", release, "--namespace", releaseNamespace)
	cancel()
	pods, ok := <-ran
	if !ok {
		t.Fatalf("helm test made no pod: %v\n%s", err, out)
	}
	if (err == nil) != (pods.code == 0) {
		t.Errorf("the pod ends with exit code %d, and helm test with %v:\n%s", pods.code, err, out)
	}
	return pods.said
}

// wantOnlyPodLeft expects that everything that `helm test` makes is gone, except the pod.
// The pod stays for its log.
func (s *system) wantOnlyPodLeft(t *testing.T, folder string) {
	t.Helper()
	for _, object := range s.hooks(t, folder) {
		if object.GetKind() != "Pod" {
			s.absent(t, manifests{object})
		}
	}
}

// uid returns the uid of the test's pod; empty if there is none.
func (s *system) uid(t testing.TB) types.UID {
	t.Helper()
	pod, err := s.client.CoreV1().Pods(releaseNamespace).Get(t.Context(), testPod, metav1.GetOptions{})
	if err != nil && !isNotFound(err) {
		t.Fatal(err)
	}
	if err != nil {
		return ""
	}
	return pod.UID
}

func (s *system) newPod(ctx context.Context, before types.UID) error {
	pod, err := s.client.CoreV1().Pods(releaseNamespace).Get(ctx, testPod, metav1.GetOptions{})
	if err == nil && pod.UID == before {
		return errors.New("it is that of the test before")
	}
	return err
}

// runPod runs the test's pod, with the pod's own rights, and reports how it ended. It
// shortens the time that the pod may take.
func (s *system) runPod(t testing.TB, ctx context.Context, object *unstructured.Unstructured) (said string, code int) {
	account, _, _ := unstructured.NestedString(object.Object, "spec", "serviceAccountName")
	request, err := s.client.CoreV1().ServiceAccounts(releaseNamespace).CreateToken(ctx, account, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Errorf("a token of the test's ServiceAccount: %v", err)
		return "", -1
	}
	kubeconfig, err := s.Kubeconfig("helm-test", request.Status.Token)
	if err != nil {
		t.Error(err)
		return "", -1
	}
	containers, _, _ := unstructured.NestedSlice(object.Object, "spec", "containers")
	container, _ := containers[0].(map[string]any)
	args, _, _ := unstructured.NestedStringSlice(container, "args")
	for i := range args {
		if strings.HasPrefix(args[i], "--timeout=") {
			args[i] = "--timeout=5s"
		}
	}
	said, code = s.check(t, kubeconfig, args...)
	phase := corev1.PodSucceeded
	if code != 0 {
		phase = corev1.PodFailed
	}
	status := fmt.Sprintf(`{"status": {"phase": %q}}`, phase)
	if _, err := s.client.CoreV1().Pods(releaseNamespace).Patch(ctx, testPod, types.StrategicMergePatchType, []byte(status), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("the end of the test's pod: %v", err)
	}
	return said, code
}
