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
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// targets returns one target of each kind that the shoot has, as HOST:PORT.
func targets(ctx context.Context, t *testing.T, rig *clustertest.Rig) map[string]string {
	t.Helper()
	pods, err := rig.Shoot.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=web"})
	if err != nil {
		t.Fatal(err)
	}
	service, err := rig.Shoot.Client.CoreV1().Services("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"a pod":                 net.JoinHostPort(pods.Items[0].Status.PodIP, "8080"),
		"a Service":             net.JoinHostPort(service.Spec.ClusterIP, "80"),
		"a port of the node":    net.JoinHostPort(shoot.Address.String(), "9100"),
		"the kubelet":           net.JoinHostPort(shoot.Address.String(), "10250"),
		"CoreDNS, as a Service": net.JoinHostPort(shoot.DNS.String(), "9153"),
	}
}

// runClient runs a pod until the namespace's end. It has the service account's token, as
// pods have it. Labels are "key=value".
func runClient(t *testing.T, c *clustertest.Cluster, namespace, imageName string, labels ...string) *corev1.Pod {
	t.Helper()
	pod := clientPod("client", false)
	pod.Spec.AutomountServiceAccountToken = nil
	pod.Spec.Containers[0].Image = image.Reference(imageName)
	for _, label := range labels {
		key, value, _ := strings.Cut(label, "=")
		pod.Labels[key] = value
	}
	create(t, c, namespace, pod)
	return c.AwaitPod(t, namespace, pod.Name, clustertest.Ready)
}

// connect fails unless a server accepts a connection at the address within 3 s.
func connect(ctx context.Context, c *clustertest.Cluster, pod *corev1.Pod, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	_, err = c.TryExec(ctx, pod, "client", "nc", "-w", "3", host, port, "-e", "true")
	return err
}

// TestShootIsUnreachableFromSeedPods: the tests of the product prove something only
// because of this. A pod of the seed cannot reach the shoot. A pod of the shoot can reach
// the same addresses.
func TestShootIsUnreachableFromSeedPods(t *testing.T) {
	rig := clustertest.New(t)
	ctx := clustertest.Context(t)
	inSeed := runClient(t, rig.Seed, rig.Seed.Namespace(t), image.Busybox)
	inShoot := runClient(t, rig.Shoot, rig.Shoot.Namespace(t), image.Busybox)
	for what, address := range targets(ctx, t, rig) {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			clustertest.Eventually(t, "a connection from a pod of the shoot", func(ctx context.Context) error {
				return connect(ctx, rig.Shoot, inShoot, address)
			})
			if err := connect(ctx, rig.Seed, inSeed, address); err == nil {
				t.Errorf("a pod of the seed reaches %s at %s without any proxy", what, address)
			} else if !strings.Contains(err.Error(), "timed out") {
				t.Errorf("a pod of the seed fails to reach %s by another error than silence: %v", what, err)
			}
		})
	}
}

// TestAgentServesKubeAPIServer: kube-apiserver reaches the shoot's node only through the
// proxy-server and the agent. Users notice it in requests that go to the kubelet.
func TestAgentServesKubeAPIServer(t *testing.T) {
	rig := clustertest.New(t)
	ctx := clustertest.Context(t)
	pod := rig.Shoot.AwaitOnePod(t, "default", "app=web", clustertest.Ready)
	out, err := rig.Shoot.Kubectl(t, "--namespace=default", "logs", pod.Name)
	if err != nil || strings.TrimSpace(out) != "web serves" {
		t.Errorf("kubectl logs gives %q, %v", out, err)
	}
	want := fmt.Sprintf("hello from the shoot, pod %s\n", pod.Name)
	if out := rig.Shoot.Exec(t, pod, "web", "cat", "/www/index.html"); out != want {
		t.Errorf("exec gives %q, want %q", out, want)
	}
	proxied, err := rig.Shoot.Client.CoreV1().Services("default").ProxyGet("http", "web", "80", "/", nil).DoRaw(ctx)
	if err != nil || !strings.HasPrefix(string(proxied), "hello from the shoot, pod web-") {
		t.Errorf("the Service's proxy gives %q, %v", proxied, err)
	}
	stats, err := rig.Shoot.Client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/shoot/proxy/metrics/cadvisor").DoRaw(ctx)
	if err != nil || !strings.Contains(string(stats), "container_memory_working_set_bytes") {
		t.Errorf("cAdvisor through the node's proxy gives %.300q, %v", stats, err)
	}
}
