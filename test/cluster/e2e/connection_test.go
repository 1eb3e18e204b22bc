// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// connection is a connection from an app to the shoot that stays open.
type connection struct {
	cluster *clustertest.Cluster
	pod     *corev1.Pod
}

// startEcho runs a server in the shoot that sends back what it gets, and returns its
// address.
func startEcho(t *testing.T, shoot *clustertest.Cluster) string {
	t.Helper()
	namespace := shoot.Namespace(t)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "echo"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(0)),
			AutomountServiceAccountToken:  new(false),
			Containers: []corev1.Container{{
				Name: "echo", Image: image.Reference(image.Busybox), ImagePullPolicy: corev1.PullNever,
				Command: []string{"nc", "-ll", "-p", "7", "-e", "cat"},
			}},
		},
	}
	if _, err := shoot.Client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return shoot.AwaitPod(t, namespace, pod.Name, clustertest.Ready).Status.PodIP
}

// connect opens a connection to the echo server from an app's container.
func (n *neighbourhood) connect(t *testing.T, pod *corev1.Pod, echo string) *connection {
	t.Helper()
	c := &connection{cluster: n.Seed, pod: pod}
	// The background process must not keep the outputs of this exec, because then the
	// exec would not end.
	n.Seed.Exec(t, pod, app, "sh", "-c", `touch /tmp/in
		( exec >/dev/null 2>&1; tail -f /tmp/in | { nc "$0" 7 >/tmp/out; echo ended >/tmp/ended; } ) &`, echo)
	c.wantOpen(t)
	return c
}

// wantOpen sends a word and waits until it comes back. It uses the connection that was
// made first: there is no other.
func (c *connection) wantOpen(t *testing.T) {
	t.Helper()
	word := rand.Text()
	clustertest.Eventually(t, "a word to be sent in pod "+c.pod.Name, func(ctx context.Context) error {
		_, err := c.cluster.TryExec(ctx, c.pod, app, "sh", "-c", "echo "+word+" >>/tmp/in")
		return err
	})
	clustertest.Eventually(t, "an echo in pod "+c.pod.Name, func(ctx context.Context) error {
		out, err := c.cluster.TryExec(ctx, c.pod, app, "sh", "-c", "cat /tmp/out /tmp/ended 2>/dev/null || true")
		switch {
		case err != nil:
			return err
		case strings.Contains(out, "ended"):
			t.Fatalf("the connection of pod %s has ended: %q", c.pod.Name, out)
		case !strings.Contains(out, word):
			return fmt.Errorf("what came back is %q", out)
		}
		return nil
	})
}

// wantEnd waits until the connection has ended.
func (c *connection) wantEnd(t *testing.T) {
	t.Helper()
	clustertest.Eventually(t, "the end of the connection of pod "+c.pod.Name, func(ctx context.Context) error {
		_, err := c.cluster.TryExec(ctx, c.pod, app, "cat", "/tmp/ended")
		return err
	})
}
