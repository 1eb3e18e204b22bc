// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
	"github.com/shoot-proxy/proxy-client/test/cluster/shoot"
)

// settingsValues change what both containers have by default: ports, user, CA, limits.
const settingsValues = `
config:
  excludePorts: [30000-32767]
  proxyServer: {tls: {caSecret: "", caConfigMap: shoot-ca, caKey: bundle.crt}}
  sidecar:
    totalBuffer: 64MiB
    connectionBuffer: 1MiB
    maxConnections: 100
    maxDials: 10
    dialTimeout: 5s
    drainTimeout: 1s
    healthPort: 15021
    resources: {limits: {cpu: 300m, memory: 128Mi}}
  redirect:
    proxyPort: 15001
    proxyUID: 15002
    resources: {limits: {cpu: 300m}}
  pod: {labels: {example.com/network: shoot}}
`

// TestOperatorsSettingsWork: pods reach the shoot with an operator's own settings too, in
// both orders. The kubelet also classes Guaranteed pods as Guaranteed. The test is not
// parallel, because it installs another configuration.
func TestOperatorsSettingsWork(t *testing.T) {
	rig, namespace := withWebhook(t, settingsValues)
	secret, err := rig.Seed.Client.CoreV1().Secrets(namespace).Get(clustertest.Context(t), shoot.CASecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "shoot-ca"}, Data: map[string]string{"bundle.crt": string(secret.Data["ca.crt"])}}
	if _, err := rig.Seed.Client.CoreV1().ConfigMaps(namespace).Create(clustertest.Context(t), ca, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	to := targets(clustertest.Context(t), t, rig)
	for _, order := range []order{native, classic} { // the pods of both orders start at the same time
		pod := clientPod(order.String(), true)
		pod.Annotations = map[string]string{"shoot-proxy.io/native-sidecar": string(order)}
		limits := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("32Mi")}
		pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Limits: limits}
		create(t, rig.Seed, namespace, pod)
	}
	for _, order := range []order{native, classic} {
		t.Run(order.String(), func(t *testing.T) {
			pod := rig.Seed.AwaitPod(t, namespace, order.String(), clustertest.Ready)
			if pod.Status.QOSClass != corev1.PodQOSGuaranteed {
				t.Errorf("the pod is %s", pod.Status.QOSClass)
			}
			if got := pod.Labels["example.com/network"]; got != "shoot" {
				t.Errorf("the operator's label is %q", got)
			}
			clustertest.Eventually(t, "an answer of the shoot", func(ctx context.Context) error {
				return exchange(ctx, rig.Seed, pod, to["a Service"])
			})
		})
	}
}
