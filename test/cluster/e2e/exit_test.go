// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/lab"
)

// The namespaces of docs/exit.md.
const (
	exitNamespace  = "shoot-proxy" // in the shoot
	usersNamespace = "monitoring"  // in the seed
)

// largeFile is the size of a file that the target of an exit serves, in bytes.
const largeFile = 4 << 20

// TestExitAsWritten follows docs/exit.md as a person with a release and two clusters with
// konnectivity. An injected pod then uses the exit, and gets what konnectivity alone does
// not give: the control experiment is a pod without an exit.
func TestExitAsWritten(t *testing.T) {
	t.Parallel()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	r := followExit(t, rig)
	rig.ClientSecrets(t, usersNamespace)
	plain := rig.Seed.Namespace(t)
	rig.ClientSecrets(t, plain)

	target := startExitTarget(t, rig.Shoot)
	create(t, rig.Seed, usersNamespace, exitClient())
	create(t, rig.Seed, plain, exitClient())
	client := rig.Seed.AwaitPod(t, usersNamespace, "client", clustertest.Ready)
	without := rig.Seed.AwaitPod(t, plain, "client", clustertest.Ready)
	clustertest.Eventually(t, "the exit to serve a connection", func(ctx context.Context) error {
		if err := exchange(ctx, rig.Seed, client, target+":8080"); err != nil {
			return err
		}
		return wantMetric(ctx, rig, "proxy_exit_close_total", `reason="closed"`)
	})

	t.Run("a client that half-closes", func(t *testing.T) {
		const sends = `printf 12345 | timeout "$1" nc "$0" 8009 || true`
		if got := rig.Seed.Exec(t, client, "client", "sh", "-c", sends, target, "60"); strings.TrimSpace(got) != "5" {
			t.Errorf("the target answers %q, want the number of bytes that it got until the end", got)
		}
		if got := rig.Seed.Exec(t, without, "client", "sh", "-c", sends, target, "5"); got != "" {
			t.Errorf("without an exit the target answers %q: then this test shows nothing", got)
		}
	})
	t.Run("a slow curl", func(t *testing.T) {
		got := rig.Seed.Exec(t, client, "client", "curl", "-sS", "--max-time", "120", "--limit-rate", "1M", "--output", "/dev/null",
			"--write-out", "%{size_download}", "http://"+target+":8080/large")
		if got != strconv.Itoa(largeFile) {
			t.Errorf("curl gets %s bytes, want %d", got, largeFile)
		}
	})
	t.Run("a port that the policy does not allow", func(t *testing.T) {
		const asks = `timeout 20 nc "$0" 7000 </dev/null || true`
		if got := rig.Seed.Exec(t, client, "client", "sh", "-c", asks, target); got != "" {
			t.Errorf("the target answers %q", got)
		}
		if got := rig.Seed.Exec(t, without, "client", "sh", "-c", asks, target); got != "open\n" {
			t.Errorf("without an exit the target answers %q: then this test shows nothing", got)
		}
		if err := wantMetric(clustertest.Context(t), rig, "proxy_exit_refused_total", `error="http_request_denied"`); err != nil {
			t.Error(err)
		}
	})
	r.follow(t, "docs/exit.md", "When it does not work")
	t.Run("two shoots behind one proxy-server", func(t *testing.T) { testManyShoots(t, target) })
}

// followExit does what docs/exit.md says, and removes it at the end of the test.
func followExit(t *testing.T, rig *clustertest.Rig) *reader {
	t.Helper()
	folder := copyOfRelease(t)
	if err := rig.Shoot.Node.Import(clustertest.Context(t), filepath.Join(releaseFolder(t), "images", "proxy-exit.tar")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), clustertest.Limit)
		defer cancel()
		removeNamespaces(ctx, t, rig.Seed, []string{usersNamespace})
		removeNamespaces(ctx, t, rig.Shoot, []string{exitNamespace})
	})
	rig.Seed.DumpIfFailed(t, usersNamespace)
	rig.Shoot.DumpIfFailed(t, exitNamespace)
	users := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: usersNamespace}}
	if _, err := rig.Seed.Client.CoreV1().Namespaces().Create(t.Context(), users, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, rig, folder, t.TempDir())
	r.follow(t, "docs/exit.md", "Certificates", "The exit", "The sidecars")
	return r
}

// startExitTarget runs a pod of the shoot, and returns its address:
//   - Port 8080 is a web server, which has a large file.
//   - Port 8009 answers with the number of bytes that it got, once its client has ended.
//   - Port 7000 answers at once. The policy of docs/exit.md does not allow it.
func startExitTarget(t *testing.T, shoot *clustertest.Cluster) string {
	t.Helper()
	namespace := shoot.Namespace(t)
	create(t, shoot, namespace, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "target"},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(0)),
			AutomountServiceAccountToken:  new(false),
			Containers: []corev1.Container{{
				Name: "target", Image: image.Reference(image.Busybox), ImagePullPolicy: corev1.PullNever,
				Command: []string{"sh", "-c", `
					mkdir /www && echo hello >/www/index.html && head -c ` + strconv.Itoa(largeFile) + ` /dev/zero >/www/large
					nc -ll -p 8009 -e wc -c &
					nc -ll -p 7000 -e echo open &
					exec httpd -f -h /www -p 8080`},
			}},
		},
	})
	return shoot.AwaitPod(t, namespace, "target", clustertest.Ready).Status.PodIP
}

// exitClient returns a labelled pod with curl.
func exitClient() *corev1.Pod {
	pod := clientPod("client", true)
	pod.Spec.Containers[0].Image = image.Reference(image.Curl)
	return pod
}

// wantMetric returns nil if an exit has counted something under a label.
func wantMetric(ctx context.Context, rig *clustertest.Rig, name, label string) error {
	pods, err := rig.Shoot.Client.CoreV1().Pods(exitNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=exit"})
	if err != nil {
		return err
	}
	for _, pod := range pods.Items {
		text, err := rig.Shoot.Client.CoreV1().Pods(exitNamespace).ProxyGet("http", pod.Name, "9444", "/metrics", nil).DoRaw(ctx)
		if err != nil {
			return err
		}
		if lab.ParseMetrics(string(text))[name+"{"+label+"}"] > 0 {
			return nil
		}
	}
	return fmt.Errorf("none of %d exits has counted %s{%s}", len(pods.Items), name, label)
}
