// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// TestProxyServersServePodsOfTheSeed: the proxy-servers that the product's tests need
// serve a pod of the seed. They serve it under their names, and only with a certificate.
// The client is curl, which does not share code with the product.
func TestProxyServersServePodsOfTheSeed(t *testing.T) {
	rig := clustertest.New(t)
	ctx := clustertest.Context(t)
	namespace := rig.Seed.Namespace(t)
	rig.ClientSecrets(t, namespace)
	rig.Seed.Apply(t, namespace, fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: client
    image: %s
    imagePullPolicy: Never
    command: [sleep, infinity]
    volumeMounts:
    - {name: ca, mountPath: /ca}
    - {name: client, mountPath: /client}
  volumes:
  - {name: ca, secret: {secretName: %s}}
  - {name: client, secret: {secretName: %s}}
`, image.Reference(image.Curl), shoot.CASecret, shoot.ClientSecret))
	pod := rig.Seed.AwaitPod(t, namespace, "client", clustertest.Ready)
	address := targets(ctx, t, rig)["a pod"]

	t.Run("HTTP CONNECT", func(t *testing.T) {
		proxy := fmt.Sprintf("https://konnectivity-server.%s.svc:%d", shoot.Namespace, shoot.HTTPConnectPort)
		through := []string{"curl", "-sS", "--max-time", "20", "--proxytunnel", "--proxy", proxy, "--proxy-cacert", "/ca/ca.crt", "http://" + address}
		refused(ctx, t, rig.Seed, pod, through...)
		through = append(through, "--proxy-cert", "/client/tls.crt", "--proxy-key", "/client/tls.key")
		eventuallyServes(t, rig.Seed, pod, "hello from the shoot", through...)
	})
	t.Run("gRPC", func(t *testing.T) {
		server := fmt.Sprintf("https://konnectivity-server.%s.svc:%d", shoot.Namespace, shoot.GRPCPort)
		// A gRPC server answers with 415 if a request is no call of gRPC
		// (google.golang.org/grpc, internal/transport/handler_server.go).
		ask := []string{"curl", "-sS", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_version} %{http_code}", "--cacert", "/ca/ca.crt", server}
		refused(ctx, t, rig.Seed, pod, ask...)
		eventuallyServes(t, rig.Seed, pod, "2 415", append(ask, "--cert", "/client/tls.crt", "--key", "/client/tls.key")...)
	})
}

// refused expects that the server refuses curl after it has shown its own certificate.
func refused(ctx context.Context, t *testing.T, c *clustertest.Cluster, pod *corev1.Pod, command ...string) {
	t.Helper()
	out, err := c.TryExec(ctx, pod, "client", command...)
	// In TLS 1.3 the server's alert comes when curl already sends or receives. If it is
	// too late to be read, curl ends with 55 or 56.
	for _, end := range []string{"certificate required", "exit code 55", "exit code 56"} {
		if err != nil && strings.Contains(err.Error(), end) {
			return
		}
	}
	t.Errorf("a client without a certificate gets %q, %v", out, err)
}

// eventuallyServes expects a program's output to begin with the given text.
func eventuallyServes(t *testing.T, c *clustertest.Cluster, pod *corev1.Pod, want string, command ...string) {
	t.Helper()
	clustertest.Eventually(t, strings.Join(command, " "), func(ctx context.Context) error {
		out, err := c.TryExec(ctx, pod, "client", command...)
		if err == nil && !strings.HasPrefix(out, want) {
			err = fmt.Errorf("it gives %q, want %q", out, want)
		}
		return err
	})
}

// TestShootIsAWholeCluster: what scrapers use in the shoot works as in any cluster. This
// is names, and kubelets with certificates of the cluster's CA that ask kube-apiserver
// about a token.
func TestShootIsAWholeCluster(t *testing.T) {
	rig := clustertest.New(t)
	ctx := clustertest.Context(t)
	pod := runClient(t, rig.Shoot, rig.Shoot.Namespace(t), image.Curl)
	eventuallyServes(t, rig.Shoot, pod, "hello from the shoot", "curl", "-sS", "--max-time", "20", "http://web.default.svc.cluster.local")

	kubelet := "https://" + net.JoinHostPort(shoot.Address.String(), "10250") + "/metrics"
	const folder = "/var/run/secrets/kubernetes.io/serviceaccount/"
	const ask = `curl -sS --max-time 20 --output /dev/null --write-out '%{http_code}' --cacert ` + folder + `ca.crt `
	for what, command := range map[string]struct{ shell, want string }{
		"without a token":             {ask + kubelet, "401"},
		"with a token without rights": {ask + `-H "Authorization: Bearer $(cat ` + folder + `token)" ` + kubelet, "403"},
	} {
		out, err := rig.Shoot.TryExec(ctx, pod, "client", "sh", "-c", command.shell)
		if err == nil && out != command.want {
			err = errors.New("the kubelet answers with " + out)
		}
		if err != nil {
			t.Errorf("%s: %v, want %s", what, err, command.want)
		}
	}
}
