// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// nodesNetworkValues put the only webhook into the network of the only node.
const nodesNetworkValues = "{replicas: 1, hostNetwork: true, webhook: {port: 10260, healthPort: 10261}}"

// openShiftValues leave the uid and groups to the platform that runs the pod.
const openShiftValues = "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: 65532}"

// TestHelmTest: the chart's own test succeeds, in a pod of only the image, and pods are
// injected. That holds with the webhook in the network of pods, in that of the node, and
// under the image's own uid.
func TestHelmTest(t *testing.T) {
	rig := clustertest.New(t)
	rig.Seed.DumpIfFailed(t, clustertest.WebhookNamespace)
	rig.InstallWebhook(t)
	wantHelmTest(t, rig)

	rig.InstallWebhook(t, nodesNetworkValues)
	clustertest.Eventually(t, "the webhook to be in the network of the node alone", func(ctx context.Context) error {
		return onlyInNodesNetwork(ctx, rig.Seed)
	})
	wantHelmTest(t, rig)
	wantReach(t, rig)

	rig.InstallWebhook(t, openShiftValues)
	wantHelmTest(t, rig)
}

func onlyInNodesNetwork(ctx context.Context, seed *clustertest.Cluster) error {
	pods, err := seed.Client.CoreV1().Pods(clustertest.WebhookNamespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=webhook"})
	if err != nil {
		return err
	}
	if len(pods.Items) != 1 {
		return errors.New("there is not exactly one pod")
	}
	if pod := pods.Items[0]; !pod.Spec.HostNetwork || pod.Status.PodIP != pod.Status.HostIP || pod.Status.Phase != corev1.PodRunning {
		return errors.New("pod " + pod.Name + " is not in it, or does not run")
	}
	return nil
}

func wantHelmTest(t *testing.T, rig *clustertest.Rig) {
	t.Helper()
	out, err := rig.Seed.Helm(t, "test", clustertest.WebhookRelease, "--namespace", clustertest.WebhookNamespace, "--logs")
	if want := `a labelled pod in namespace "default" is injected: `; err != nil || !strings.Contains(out, want) {
		t.Errorf("helm test: %v, without %q:\n%s", err, want, out)
	}
}
