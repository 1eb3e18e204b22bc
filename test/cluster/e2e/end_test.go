// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

var errOld = errors.New("it is the old one")

// ending is a pod whose app asks until its end, from before that end begins.
type ending struct {
	*neighbourhood
	pod              *corev1.Pod
	order            order
	appLog, proxyLog func() string
}

// expectEnd keeps the logs, because they are removed with the pod.
func (n *neighbourhood) expectEnd(t *testing.T, pod *corev1.Pod, o order) *ending {
	t.Helper()
	n.askedFromItsStart(t, pod)
	return &ending{n, pod, o, n.Seed.KeepLog(t, pod, app), n.Seed.KeepLog(t, pod, proxyClient)}
}

// wantGood waits for the pod's end. It fails the test unless the app's last requests
// succeeded and both containers ended by themselves.
func (e *ending) wantGood(t *testing.T) {
	t.Helper()
	last := e.Seed.AwaitEnd(t, e.pod)
	appLog, proxyLog := e.appLog(), e.proxyLog()
	for _, want := range []string{"last 1: hello from the shoot", "last 2: hello from the shoot", "last 3: hello from the shoot", "bye"} {
		if lineWith(appLog, want) == "" {
			t.Errorf("pod %s: the app has not written %q after it was told to end:\n%s", e.pod.Name, want, tail(appLog))
		}
	}
	for _, name := range []string{app, proxyClient} {
		// The kubelet's SIGKILL at the end of the grace period would give 137.
		if status := clustertest.Container(last, name); status == nil || status.State.Terminated == nil || status.State.Terminated.ExitCode != 0 {
			t.Errorf("pod %s: the last state of container %s is %+v", e.pod.Name, name, status)
		}
	}
	drained := struct{ Reset *int }{}
	_, line, _ := strings.Cut(lineWith(proxyLog, `"msg":"drained"`), " ")
	if err := json.Unmarshal([]byte(line), &drained); err != nil || drained.Reset == nil || *drained.Reset != 0 {
		t.Errorf("pod %s: proxy-client did not end all connections well: %v, %q", e.pod.Name, err, line)
	}
	draining, bye := timeOf(t, lineWith(proxyLog, `"msg":"draining"`)), timeOf(t, lineWith(appLog, "bye"))
	if appFirst := bye.Before(draining); appFirst != (e.order == native) {
		t.Errorf("pod %s, in %s order: the app ended at %s, and proxy-client was told to at %s", e.pod.Name, e.order, bye, draining)
	}
}

// lineWith returns the last line of a log with that text, or an empty string.
func lineWith(log, text string) string {
	found := ""
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			found = line
		}
	}
	return found
}

// timeOf returns when the line of a log was written.
func timeOf(t *testing.T, line string) time.Time {
	t.Helper()
	stamp, _, _ := strings.Cut(line, " ")
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		t.Errorf("no time in the line %q", line)
	}
	return at
}

// tail returns the end of a log.
func tail(log string) string { return log[max(0, len(log)-1000):] }

func TestPodEndsInOrder(t *testing.T) {
	t.Parallel()
	n := newNeighbourhood(t)
	for _, o := range []order{native, classic} {
		t.Run(o.String(), func(t *testing.T) {
			t.Parallel()
			pod := n.run(t, o.String(), n.template(o, asksOn))
			e := n.expectEnd(t, pod, o)
			if err := n.Seed.Client.CoreV1().Pods(n.namespace).Delete(t.Context(), pod.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			e.wantGood(t)
		})
	}
}

// labels returns the labels by which a controller finds its pods.
func labels(name string) map[string]string {
	return map[string]string{"app": name, clustertest.InjectLabel: "true"}
}

// deploy makes a Deployment of one pod, named after the order.
func (n *neighbourhood) deploy(t *testing.T, o order) *appsv1.Deployment {
	t.Helper()
	template := n.template(o, asksOn)
	template.Labels = labels(o.String())
	made, err := n.Seed.Client.AppsV1().Deployments(n.namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: o.String()},
		Spec:       appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// deployStateful makes a StatefulSet of one pod, with the given name.
func (n *neighbourhood) deployStateful(t *testing.T, name string, o order) *appsv1.StatefulSet {
	t.Helper()
	template := n.template(o, asksOn)
	template.Labels = labels(name)
	made, err := n.Seed.Client.AppsV1().StatefulSets(n.namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       appsv1.StatefulSetSpec{Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// awaitOther waits until another pod with the labels than the given one is ready.
func (n *neighbourhood) awaitOther(t *testing.T, name string, old *corev1.Pod) *corev1.Pod {
	t.Helper()
	return n.Seed.AwaitOnePod(t, n.namespace, "app="+name, func(pod *corev1.Pod) error {
		if old != nil && pod.UID == old.UID {
			return errOld
		}
		return clustertest.Ready(pod)
	})
}

func TestDeletedPodIsMadeAnew(t *testing.T) {
	t.Parallel()
	n := newNeighbourhood(t)
	n.deploy(t, native)
	n.deployStateful(t, "stateful", native)
	for _, name := range []string{native.String(), "stateful"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := n.awaitOther(t, name, nil)
			e := n.expectEnd(t, old, native)
			if err := n.Seed.Client.CoreV1().Pods(n.namespace).Delete(t.Context(), old.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			e.wantGood(t)
			pod := n.awaitOther(t, name, old)
			wantInjected(t, pod)
			n.askedFromItsStart(t, pod)
		})
	}
}
