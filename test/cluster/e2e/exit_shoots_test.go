// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/quickstart"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
	"github.com/shoot-proxy/proxy-client/test/markdown"
)

// What the shoots answer at the address that both have. The first one is the page of
// startExitTarget.
const (
	answerOfA = "hello\n"
	answerOfB = "hello from shoot b\n"
)

// thirdLoadBalancer is one more address like otherLoadBalancer.
const thirdLoadBalancer = "192.0.2.131"

// manyShoots are two shoots with the same addresses behind one unmodified proxy-server.
// Shoot a is the tests' shoot. Shoot b is the network of one pod of the seed, where the
// whole pod range of shoot a is local. In that pod are an exit like that of shoot a, and a
// web server. Only its agent, which is another pod, is connected to the proxy-server.
type manyShoots struct {
	*operator
	// shared is a URL at which both shoots answer. The others answer in one shoot only.
	shared, onlyA, onlyB string
	agentsB              string // the namespace of the agents of shoot b, in the seed
	exitB                *corev1.Pod
	podA, podB, without  *corev1.Pod // clients, the last one without an exit
}

// testManyShoots follows docs/exit.md for two shoots. Each client gets only its own shoot's
// answers, also while that shoot has no agent. The exit of shoot a and the target exist.
func testManyShoots(t *testing.T, target string) {
	m := &manyShoots{
		operator: newOperator(t, thirdLoadBalancer),
		shared:   "http://" + target + ":8080/",
		onlyA:    "http://" + shoot.Address.String() + ":9100/",
		onlyB:    "http://" + shoot.Pods.Addr().Next().Next().String() + ":8081/",
	}
	m.startExitB(t)
	m.hurry(t)
	m.follow(t, controlPlaneReadme, "With openssl", "4. The proxy-server")
	m.follow(t, "docs/exit.md", "The server for many shoots")
	m.startAgents(t)
	m.startClients(t)
	m.awaitAnswers(t)

	m.wantOwnAnswers(t)
	m.wantNone(t, m.podA, m.onlyB)
	m.wantNone(t, m.podB, m.onlyA)
	m.wantNone(t, m.without, m.shared)
	m.removeAgentOfB(t)
}

// startExitB starts shoot b, with the template, the Secrets and the policy of the exit of
// shoot a.
func (m *manyShoots) startExitB(t *testing.T) {
	t.Helper()
	ctx := clustertest.Context(t)
	if err := m.rig.Seed.Node.Import(ctx, filepath.Join(releaseFolder(t), "images", "proxy-exit.tar")); err != nil {
		t.Fatal(err)
	}
	namespace := m.rig.Seed.Namespace(t, privileged)
	d, err := m.rig.Shoot.Client.AppsV1().Deployments(exitNamespace).Get(ctx, "proxy-exit", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policy, err := m.rig.Shoot.Client.CoreV1().ConfigMaps(exitNamespace).Get(ctx, "proxy-exit-policy", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	policy.ObjectMeta = metav1.ObjectMeta{Name: policy.Name}
	if _, err := m.rig.Seed.Client.CoreV1().ConfigMaps(namespace).Create(ctx, policy, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	copySecrets(t, m.rig.Shoot, exitNamespace, m.rig.Seed, namespace, "proxy-exit-tls", "proxy-exit-client-ca")
	create(t, m.rig.Seed, namespace, shootB(d.Spec.Template.Spec))
	m.exitB = m.rig.Seed.AwaitPod(t, namespace, "shoot-b", clustertest.Ready)
}

// shootB returns the pod that is shoot b, made of an exit's pod.
func shootB(spec corev1.PodSpec) *corev1.Pod {
	root := &corev1.SecurityContext{
		RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), RunAsNonRoot: new(false),
		Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN"}},
	}
	busybox := corev1.Container{Image: image.Reference(image.Busybox), ImagePullPolicy: corev1.PullNever}
	addresses, web := busybox, busybox
	addresses.Name, addresses.SecurityContext = "addresses", root
	addresses.Command = []string{"ip", "route", "add", "local", shoot.Pods.String(), "dev", "lo"}
	web.Name = "web"
	web.Command = []string{"sh", "-c", `mkdir /tmp/www && echo '` + strings.TrimSpace(answerOfB) + `' >/tmp/www/index.html
		httpd -h /tmp/www -p 8081
		exec httpd -f -h /tmp/www -p 8080`}
	spec.ServiceAccountName, spec.DeprecatedServiceAccount = "", ""
	spec.TerminationGracePeriodSeconds = new(int64(1))
	spec.InitContainers = []corev1.Container{addresses}
	spec.Containers = append(spec.Containers, web)
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "shoot-b"}, Spec: spec}
}

// hurry makes probes more frequent, and rollouts shorter, than the manifests of
// deploy/control-plane do.
func (m *manyShoots) hurry(t *testing.T) {
	t.Helper()
	m.do(t, []markdown.Step{{Command: `sed --in-place --regexp-extended ` +
		`'s/replicas: 2/replicas: 1/; s/^( *)automountServiceAccountToken:/\1terminationGracePeriodSeconds: 1\n&/; ` +
		`s/^( *)httpGet: .*port: health.*/&\n\1periodSeconds: 1/' deploy/control-plane/agent/agent.yaml deploy/control-plane/server/server.yaml`}})
}

// startAgents starts the agents of both shoots.
func (m *manyShoots) startAgents(t *testing.T) {
	t.Helper()
	m.follow(t, controlPlaneReadme, "6. The agents")
	m.follow(t, "docs/exit.md", "The agents of one shoot")

	archives, err := quickstart.Archives(m.rig.State.Binaries, filepath.Join(repositoryRoot(t), "docs", "quickstart"), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := m.rig.Seed.Node.Import(clustertest.Context(t), archives.Agent); err != nil {
		t.Fatal(err)
	}
	m.agentsB = m.rig.Seed.Namespace(t)
	ofB := m.told(t, controlPlaneReadme, "6. The agents")
	ofB[0].Command = fmt.Sprintf("export AGENT_NAMESPACE=%s SHOOT_KUBECONFIG=%q\n", m.agentsB, m.rig.Seed.Kubeconfig) + ofB[0].Command
	m.do(t, ofB)
	m.followFor(t, "The agents of one shoot", "exit-a", "exit-b", "agents-a", "agents-b", "100.104.0.50", m.exitB.Status.PodIP)
}

// followFor follows a section of docs/exit.md with other words: old, new, old, new, …
func (m *manyShoots) followFor(t *testing.T, section string, words ...string) {
	t.Helper()
	steps := m.told(t, "docs/exit.md", section)
	other := strings.NewReplacer(words...)
	for i := range steps {
		s := &steps[i]
		s.File, s.Content, s.Command = other.Replace(s.File), other.Replace(s.Content), other.Replace(s.Command)
	}
	m.do(t, steps)
}

// startClients starts a pod for each shoot, and one that uses the same proxy-server without
// an exit.
func (m *manyShoots) startClients(t *testing.T) {
	t.Helper()
	server := "konnectivity-server." + m.namespace + ".svc:8090"
	ofA, ofB := m.rig.Seed.Namespace(t), m.rig.Seed.Namespace(t)
	for _, namespace := range []string{ofA, ofB} {
		copySecrets(t, m.rig.Seed, m.namespace, m.rig.Seed, namespace, "proxy-client-tls")
		copySecrets(t, m.rig.Seed, usersNamespace, m.rig.Seed, namespace, "exit-ca", "exit-client-tls")
	}
	const section, inDocument = "The pods for one shoot", "konnectivity-server.shoot.svc:8090"
	m.followFor(t, section, inDocument, server, "monitoring-a", ofA)
	m.followFor(t, section, inDocument, server, "monitoring-a", ofB, "exit-a", "exit-b", "shoot-a", "shoot-b")
	m.follow(t, controlPlaneReadme, "7. The sidecars")
	for namespace, pod := range map[string]**corev1.Pod{ofA: &m.podA, ofB: &m.podB, m.namespace: &m.without} {
		create(t, m.rig.Seed, namespace, exitClient())
		*pod = m.rig.Seed.AwaitPod(t, namespace, "client", clustertest.Ready)
	}
}

// copySecrets copies Secrets from a namespace to another.
func copySecrets(t *testing.T, from *clustertest.Cluster, namespace string, to *clustertest.Cluster, other string, names ...string) {
	t.Helper()
	ctx := clustertest.Context(t)
	for _, name := range names {
		secret, err := from.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		secret.ObjectMeta = metav1.ObjectMeta{Name: name}
		if _, err := to.Client.CoreV1().Secrets(other).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// ask returns what is answered at a URL.
func (m *manyShoots) ask(ctx context.Context, pod *corev1.Pod, url string) (string, error) {
	return m.rig.Seed.TryExec(ctx, pod, "client", "curl", "-sS", "--max-time", "20", url)
}

// awaitAnswers waits until each client reaches what is behind its own exit. No other shoot
// answers meanwhile.
func (m *manyShoots) awaitAnswers(t *testing.T) {
	t.Helper()
	for _, wait := range []struct {
		pod             *corev1.Pod
		url, want, fail string
	}{
		{m.podA, m.shared, answerOfA, answerOfB},
		{m.podB, m.shared, answerOfB, answerOfA},
		{m.podB, m.onlyB, answerOfB, answerOfA},
		{m.podA, m.onlyA, "", answerOfB},
	} {
		clustertest.Eventually(t, "an answer from "+wait.url, func(ctx context.Context) error {
			got, err := m.ask(ctx, wait.pod, wait.url)
			switch {
			case err != nil:
				return err
			case got == wait.fail:
				t.Fatalf("the other shoot answers at %s: %q", wait.url, got)
			case wait.want != "" && got != wait.want:
				return fmt.Errorf("%s answers %q, want %q", wait.url, got, wait.want)
			}
			return nil
		})
	}
}

// wantOwnAnswers asks at the same address from both clients at the same time, and wants
// only answers of their own shoots.
func (m *manyShoots) wantOwnAnswers(t *testing.T) {
	t.Helper()
	const times, atOnce = 20, 3
	var asks sync.WaitGroup
	for _, c := range []struct {
		pod  *corev1.Pod
		want string
	}{{m.podA, answerOfA}, {m.podB, answerOfB}} {
		for range atOnce {
			asks.Go(func() {
				got, err := m.rig.Seed.TryExec(clustertest.Context(t), c.pod, "client", "sh", "-c",
					fmt.Sprintf(`for n in $(seq %d); do curl -sS --max-time 20 "$0" || exit; done`, times), m.shared)
				if err != nil || got != strings.Repeat(c.want, times) {
					t.Errorf("a client gets %q (%v), want %d times %q", got, err, times, c.want)
				}
			})
		}
	}
	asks.Wait()
}

// wantNone wants no answer at a URL.
func (m *manyShoots) wantNone(t *testing.T, pod *corev1.Pod, url string) {
	t.Helper()
	if got, err := m.ask(clustertest.Context(t), pod, url); !isCurls(err) {
		t.Errorf("pod %s/%s gets %q (%v) from %s, which is not behind its exit", pod.Namespace, pod.Name, got, err, url)
	}
}

// isCurls says whether an error is curl's own. It is then not one of the way to the pod.
func isCurls(err error) bool { return err != nil && strings.Contains(err.Error(), "curl: (") }

// removeAgentOfB: without its agent a shoot is not reached at all. The other shoot, which
// has the same address, does not answer instead.
func (m *manyShoots) removeAgentOfB(t *testing.T) {
	t.Helper()
	if out, err := m.rig.Seed.Kubectl(t, "--namespace", m.agentsB, "scale", "deployment", "konnectivity-agent", "--replicas=0"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	clustertest.Eventually(t, "the end of the agent of shoot b", func(ctx context.Context) error {
		pods, err := m.rig.Seed.Client.CoreV1().Pods(m.agentsB).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) != 0 {
			err = fmt.Errorf("there are %d", len(pods.Items))
		}
		return err
	})
	for range 5 {
		m.wantNone(t, m.podB, m.shared)
	}
	if got, err := m.ask(clustertest.Context(t), m.podA, m.shared); err != nil || got != answerOfA {
		t.Errorf("without shoot b the client of shoot a gets %q (%v)", got, err)
	}
}
