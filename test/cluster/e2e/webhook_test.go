// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/image"
)

// TestLabelledPodReachesTheShoot: the pod that cannot reach the shoot in
// TestShootIsUnreachableFromSeedPods reaches all of it once it has the label. It keeps
// what it had in the seed.
func TestLabelledPodReachesTheShoot(t *testing.T) {
	t.Parallel()
	rig := clustertest.New(t)
	rig.InstallWebhook(t)
	ctx := clustertest.Context(t)
	namespace := rig.Seed.Namespace(t)
	rig.ClientSecrets(t, namespace)
	pod := runClient(t, rig.Seed, namespace, image.Busybox, clustertest.InjectLabel+"=true")
	for what, address := range targets(ctx, t, rig) {
		clustertest.Eventually(t, "an answer of "+what, func(ctx context.Context) error {
			return exchange(ctx, rig.Seed, pod, address)
		})
	}
	clustertest.Eventually(t, "an answer of a Service of the seed", func(ctx context.Context) error {
		return exchange(ctx, rig.Seed, pod, "kube-apiserver.shoot.svc:443")
	})
}

// exchange fails unless an HTTP server at the address answers the container "client"
// within 5 s. A connection alone proves nothing in an injected pod, because it is made to
// the sidecar. A server that requires TLS answers as well, with an error.
func exchange(ctx context.Context, c *clustertest.Cluster, pod *corev1.Pod, address string) error {
	return exchangeFrom(ctx, c, pod, "client", address)
}

// exchangeFrom does the same as exchange for any container with busybox.
func exchangeFrom(ctx context.Context, c *clustertest.Cluster, pod *corev1.Pod, container, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	out, err := c.TryExec(ctx, pod, container, "sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | timeout 5 nc "$0" "$1"`, host, port)
	if err == nil && !strings.HasPrefix(out, "HTTP/1.") {
		err = fmt.Errorf("%s answers %.100q", address, out)
	}
	return err
}
