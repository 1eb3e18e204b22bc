// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/manifest"
	"github.com/shoot-proxy/proxy-client/test/cluster/quickstart"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

const controlPlaneReadme = "deploy/control-plane/README.md"

// TestControlPlaneOverASocket: kube-apiserver of the tests' shoot and a pod by hand share
// the Unix socket of a proxy-server. The test is not parallel: all tests use that
// kube-apiserver, and its server stands still at times.
func TestControlPlaneOverASocket(t *testing.T) {
	rig := clustertest.New(t)
	namespace := rig.Seed.Namespace(t, privileged)
	s := &sharing{
		Rig: rig, api: rig.Shoot, pod: startSocketApp(t, rig, namespace, ""),
		agents: agents{"kube-system", "konnectivity-agent-kube-apiserver", "app=konnectivity-agent,server=kube-apiserver"},
		// Each takes 10 s here, and all other tests wait. The three do the same.
		stalling: []string{"logs"},
	}
	s.test(t)
}

// TestSocketIsForItsGroup: in another group the same pod reaches nothing.
func TestSocketIsForItsGroup(t *testing.T) {
	t.Parallel()
	rig := clustertest.New(t)
	pod := startSocketApp(t, rig, rig.Seed.Namespace(t, privileged), `
    - {op: replace, path: /spec/initContainers/1/securityContext/runAsGroup, value: 14001}`)
	if err := exchangeFrom(clustertest.Context(t), rig.Seed, pod, app, net.JoinHostPort(shoot.Address.String(), "9100")); err == nil {
		t.Error("a sidecar without the socket's group reaches the shoot")
	}
	clustertest.Eventually(t, "the sidecar to say why", func(ctx context.Context) error {
		log, err := rig.Seed.TryLogs(ctx, pod, &corev1.PodLogOptions{Container: proxyClient})
		if err == nil && !strings.Contains(log, "permission denied") {
			err = errors.New(log)
		}
		return err
	})
}

// startSocketApp makes the pod of deploy/control-plane/socket-app, with a further line of
// the patch.
func startSocketApp(t *testing.T, rig *clustertest.Rig, namespace, line string) *corev1.Pod {
	t.Helper()
	text, err := manifest.Kustomize(clustertest.Context(t), rig.State.Binaries, t.TempDir(), map[string]string{"kustomization.yaml": `
resources: [CONTROL_PLANE/socket-app]
images: [{name: registry.example/app, newName: registry.example/test/busybox, newTag: test}]
patches:
- target: {kind: Pod, name: app}
  patch: |
    - {op: add, path: /spec/terminationGracePeriodSeconds, value: 1}
    - {op: add, path: /spec/containers/0/command, value: [sleep, infinity]}` + line})
	if err != nil {
		t.Fatal(err)
	}
	rig.Seed.Apply(t, namespace, text)
	return rig.Seed.AwaitPod(t, namespace, app, clustertest.Ready)
}

// TestControlPlaneAsWritten follows deploy/control-plane/README.md. In the end there is
// another kube-apiserver, which shares a proxy-server on TCP with the sidecars of injected
// pods.
func TestControlPlaneAsWritten(t *testing.T) {
	t.Parallel()
	o := newOperator(t, shoot.LoadBalancer.String())
	o.follow(t, controlPlaneReadme, "With openssl", "4. The proxy-server", "5. kube-apiserver", "6. The agents", "7. The sidecars")
	kubeAPIServer := o.rig.Seed.AwaitOnePod(t, o.namespace, "app=kube-apiserver", clustertest.Ready)
	s := &sharing{
		Rig: o.rig, api: o.rig.Shoot.Through(t, &o.rig.State.Seed, kubeAPIServer), pod: o.startApp(t),
		agents:   agents{o.agents, "konnectivity-agent", "app=konnectivity-agent"},
		stalling: []string{"logs", "exec", "port-forward"},
	}
	s.test(t)
}

// TestControlPlaneByCertManager: cert-manager can make the certificates instead.
func TestControlPlaneByCertManager(t *testing.T) {
	t.Parallel()
	o := newOperator(t, otherLoadBalancer)
	o.rig.InstallCertManager(t)
	o.follow(t, controlPlaneReadme, "With cert-manager", "4. The proxy-server", "6. The agents", "7. The sidecars")
	if _, err := o.rig.Seed.Client.CoreV1().Secrets(o.namespace).Get(clustertest.Context(t), "konnectivity-client", metav1.GetOptions{}); err != nil {
		t.Errorf("kube-apiserver has no certificate: %v", err)
	}
	pod, to := o.startApp(t), targets(clustertest.Context(t), t, o.rig)["a Service"]
	clustertest.Eventually(t, "an answer of the shoot", func(ctx context.Context) error {
		return exchangeFrom(ctx, o.rig.Seed, pod, app, to)
	})
}

// otherLoadBalancer is an address of the seed for a second Service with the same port. It
// is in TEST-NET-1 too, and the shoot's default route leads to it.
const otherLoadBalancer = "192.0.2.130"

// operator is a person who makes a control plane in a namespace of the seed.
type operator struct {
	*reader
	// namespace is one of the seed, agents one of the shoot.
	namespace, agents string
}

// newOperator returns an operator who has followed the document up to the address of the
// agents, which the tests give to the Service as a cloud does.
func newOperator(t *testing.T, address string) *operator {
	t.Helper()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	o := &operator{namespace: rig.Seed.Namespace(t, privileged), agents: rig.Shoot.Namespace(t)}
	ctx := clustertest.Context(t)
	secrets := rig.Seed.Client.CoreV1().Secrets
	credentials, err := secrets(shoot.Namespace).Get(ctx, shoot.CredentialsSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	copied := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: credentials.Name}, Data: credentials.Data}
	if _, err := secrets(o.namespace).Create(ctx, copied, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	importUpstream(ctx, t, rig)
	o.reader = newReader(t, rig, cloneForControlPlane(t), t.TempDir(), "NAMESPACE="+o.namespace, "AGENT_NAMESPACE="+o.agents)

	steps := o.told(t, controlPlaneReadme, "2. The agents' address")
	o.do(t, steps[:1])
	services := rig.Seed.Client.CoreV1().Services(o.namespace)
	service, err := services.Get(ctx, "konnectivity-agents", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	if _, err := services.UpdateStatus(ctx, service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	o.do(t, steps[1:])
	return o
}

// cloneForControlPlane returns a folder with what the document needs of a clone, and the
// operator's own kube-apiserver.yaml.
func cloneForControlPlane(t *testing.T) string {
	t.Helper()
	clone := t.TempDir()
	// kustomize follows no link out of its folder.
	if err := os.CopyFS(filepath.Join(clone, "deploy"), os.DirFS(filepath.Join(repositoryRoot(t), "deploy"))); err != nil {
		t.Fatal(err)
	}
	text, err := shoot.KubeAPIServer()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(clone, "kube-apiserver.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return clone
}

// importUpstream gives the nodes the images of upstream's proxy-server and agent, under
// the names in the manifests.
func importUpstream(ctx context.Context, t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	archives, err := quickstart.Archives(rig.State.Binaries, filepath.Join(repositoryRoot(t), "docs", "quickstart"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := rig.Seed.Node.Import(ctx, archives.Server); err != nil {
		t.Fatal(err)
	}
	if err := rig.Shoot.Node.Import(ctx, archives.Agent); err != nil {
		t.Fatal(err)
	}
}

// startApp runs a pod that the webhook injects. Its sidecar uses the operator's
// proxy-server.
func (o *operator) startApp(t *testing.T) *corev1.Pod {
	t.Helper()
	pod := clientPod(app, true)
	pod.Spec.Containers[0].Name = app
	create(t, o.rig.Seed, o.namespace, pod)
	ready := o.rig.Seed.AwaitPod(t, o.namespace, pod.Name, clustertest.Ready)
	if want, args := net.JoinHostPort(shoot.Service, fmt.Sprint(8090)), strings.Join(ready.Spec.InitContainers[1].Args, " "); !strings.Contains(args, "--proxy-server="+want) {
		t.Fatalf("the sidecar uses another proxy-server than %s: %s", want, args)
	}
	return ready
}
