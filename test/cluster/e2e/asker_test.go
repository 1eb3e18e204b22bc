// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Names of the containers of the pods below:
const (
	app          = "app"
	proxyClient  = "proxy-client"
	initRedirect = "init-redirect"
)

// order is the order of a pod's containers.
type order string

// The two orders, as values of the annotation that asks for them.
const (
	native  order = "true"
	classic order = "false"
)

func (o order) String() string {
	if o == native {
		return "native"
	}
	return "classic"
}

// Scripts of the app. For each answer of the shoot, and for each missing one, they write
// a line to the log.
const (
	ask = `ask() { out=$(timeout 60 wget -q -O - "http://$TARGET/" 2>&1) && echo "$1: $out" || { echo "$1 failed: $out"; false; }; }
`
	// asksOnce ends after one request.
	asksOnce = ask + `ask only`
	// asksOn asks from its first moment on until it gets a signal. Its last requests come
	// after the signal. In the classic order they come only once proxy-client has got the
	// signal too.
	asksOn = ask + `trap 'ending=1' TERM
ask first
while [ -z "$ending" ]; do ask next; usleep 300000; done
if [ "$ORDER" = classic ]; then
	while wget -q -O /dev/null "http://127.0.0.1:$HEALTH_PORT/readyz"; do usleep 100000; done
fi
for n in 1 2 3; do ask "last $n"; sleep 1; done
echo bye`
)

// neighbourhood is a namespace of the seed whose pods may reach the shoot.
type neighbourhood struct {
	*clustertest.Rig
	namespace string
	// target is a server of the shoot that answers with a page.
	target string
}

func newNeighbourhood(t *testing.T) *neighbourhood {
	t.Helper()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	return neighbourhoodOf(t, rig)
}

// neighbourhoodOf does the same as newNeighbourhood with the present webhook.
func neighbourhoodOf(t *testing.T, rig *clustertest.Rig) *neighbourhood {
	t.Helper()
	n := &neighbourhood{Rig: rig, namespace: rig.Seed.Namespace(t)}
	rig.ClientSecrets(t, n.namespace)
	web := rig.Shoot.AwaitOnePod(t, "default", "app=web", clustertest.Ready)
	n.target = net.JoinHostPort(web.Status.PodIP, "8080")
	return n
}

// kubectl runs kubectl in the seed and returns its output.
func (n *neighbourhood) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := n.Seed.Kubectl(t, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return out
}

// template returns a labelled pod whose app runs a script.
func (n *neighbourhood) template(o order, script string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{
			Labels:      map[string]string{clustertest.InjectLabel: "true"},
			Annotations: map[string]string{"shoot-proxy.io/native-sidecar": string(o)},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			EnableServiceLinks:           new(false),
			Containers: []corev1.Container{{
				Name: app, Image: image.Reference(image.Busybox), ImagePullPolicy: corev1.PullNever,
				Command: []string{"sh", "-c", script},
				Env:     []corev1.EnvVar{{Name: "TARGET", Value: n.target}, {Name: "ORDER", Value: o.String()}, {Name: "HEALTH_PORT", Value: fmt.Sprint(lab.HealthPort)}},
			}},
		},
	}
}

// run makes a pod of a template and returns once it is ready.
func (n *neighbourhood) run(t *testing.T, name string, template corev1.PodTemplateSpec) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
	pod.Name = name
	if _, err := n.Seed.Client.CoreV1().Pods(n.namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return n.Seed.AwaitPod(t, n.namespace, name, clustertest.Ready)
}

// reaches waits until a new connection of the pod's gets an answer from the shoot.
func (n *neighbourhood) reaches(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	clustertest.Eventually(t, "an answer of the shoot in pod "+pod.Name, func(ctx context.Context) error {
		out, err := n.Seed.TryExec(ctx, pod, app, "sh", "-c", ask+"ask now")
		if err == nil && !strings.Contains(out, "hello from the shoot") {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
}

// askedFromItsStart waits for the app's first request, and fails the test unless the shoot
// answered it.
func (n *neighbourhood) askedFromItsStart(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	clustertest.Eventually(t, "the first request of pod "+pod.Name, func(ctx context.Context) error {
		text, err := n.Seed.TryLogs(ctx, pod, &corev1.PodLogOptions{Container: app})
		if err == nil && text == "" {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	if text := n.Seed.Logs(t, pod, app); !strings.HasPrefix(text, "first: hello from the shoot") {
		t.Errorf("in pod %s the first request, before any other, did not get through: %.300q", pod.Name, text)
	}
}

// wantUndisturbed fails the test if a container of the pod has been replaced.
func (n *neighbourhood) wantUndisturbed(t *testing.T, before *corev1.Pod, containers ...string) {
	t.Helper()
	now, err := n.Seed.Client.CoreV1().Pods(n.namespace).Get(clustertest.Context(t), before.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range containers {
		was, is := clustertest.Container(before, name), clustertest.Container(now, name)
		if is == nil || is.ContainerID != was.ContainerID || is.RestartCount != was.RestartCount || is.State.Running == nil {
			t.Errorf("container %s of pod %s has been disturbed: it was %+v, and is %+v", name, before.Name, was, is)
		}
	}
}

// wantInjected fails the test unless the pod has both containers in front of its own.
func wantInjected(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	if err := injected(pod); err != nil {
		t.Error(err)
	}
}

func injected(pod *corev1.Pod) error {
	var names []string
	for _, c := range pod.Spec.InitContainers {
		names = append(names, c.Name)
	}
	for _, c := range pod.Spec.Containers {
		names = append(names, c.Name)
	}
	if got, want := strings.Join(names, " "), strings.Join([]string{initRedirect, proxyClient, app}, " "); got != want {
		return fmt.Errorf("pod %s has the containers %q, want %q", pod.Name, got, want)
	}
	return nil
}
