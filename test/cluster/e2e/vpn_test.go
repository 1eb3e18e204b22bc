// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/cluster/clustertest"
)

// moves follows docs/vpn.md with the Prometheus of docs/install.md. There is no VPN, so a
// replica reaches the shoot only if it is injected.
func (r *reader) moves(t *testing.T) {
	const document = "docs/vpn.md"
	// The document begins with two replicas that have no label. Both start at the same time
	// if there was none before. The operator's startup probe lets each take 15 s.
	r.patch(t, `{"spec":{"podMetadata":null,"replicas":0,"scrapeInterval":"2s"}}`)
	clustertest.Eventually(t, "the first Prometheus to end", func(ctx context.Context) error {
		_, err := r.rig.Seed.Client.CoreV1().Pods("monitoring").Get(ctx, "prometheus-shoot-0", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("it is there (%v)", err)
	})
	r.patch(t, `{"spec":{"replicas":2}}`)
	r.wantReplicas(t, "without the label", func(zero, one *corev1.Pod) bool {
		return !hasLabel(zero) && !hasLabel(one) && !isInjected(zero) && !isInjected(one)
	})
	r.follow(t, document, "1. Prepare the namespace, and leave its pods alone", "2. Put the label on the pods")
	r.wantReplicas(t, "with the label, and left alone", func(zero, one *corev1.Pod) bool {
		return hasLabel(zero) && hasLabel(one) && !isInjected(zero) && !isInjected(one)
	})
	r.follow(t, document, "3. Switch the namespace to proxy-client", "4. Replace one replica", "5. Check that it scrapes every target")
	r.wantReplicas(t, "one injected", func(zero, one *corev1.Pod) bool { return !isInjected(zero) && isInjected(one) })
	r.follow(t, document, "6. Replace the other, and check it too")
	r.wantReplicas(t, "both injected", func(zero, one *corev1.Pod) bool { return isInjected(zero) && isInjected(one) })
	r.follow(t, document, "2. Switch the namespace back")
	if pod := r.rehearse(t); isInjected(pod) {
		t.Error("after the namespace was switched back, a labelled pod is injected")
	}
}

// rehearse returns what the API server makes of a labelled pod, as a dry run.
func (r *reader) rehearse(t *testing.T) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "dry-run-", Labels: map[string]string{clustertest.InjectLabel: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	made, err := r.rig.Seed.Client.CoreV1().Pods("monitoring").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// patch changes the Prometheus.
func (r *reader) patch(t *testing.T, text string) {
	t.Helper()
	if out, err := r.rig.Seed.Kubectl(t, "--namespace", "monitoring", "patch", "prometheus", "shoot", "--type=merge", "--patch", text); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// wantReplicas waits until both replicas are there and meet a condition.
func (r *reader) wantReplicas(t *testing.T, what string, condition func(zero, one *corev1.Pod) bool) {
	t.Helper()
	clustertest.Eventually(t, "both replicas "+what, func(ctx context.Context) error {
		var pods []*corev1.Pod
		for _, name := range []string{"prometheus-shoot-0", "prometheus-shoot-1"} {
			pod, err := r.rig.Seed.Client.CoreV1().Pods("monitoring").Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.DeletionTimestamp != nil {
				return errors.New(name + " is being deleted")
			}
			pods = append(pods, pod)
		}
		if !condition(pods[0], pods[1]) {
			return fmt.Errorf("they have the label: %v and %v; they are injected: %v and %v",
				hasLabel(pods[0]), hasLabel(pods[1]), isInjected(pods[0]), isInjected(pods[1]))
		}
		return nil
	})
}

func hasLabel(pod *corev1.Pod) bool { return pod.Labels[clustertest.InjectLabel] == "true" }

func isInjected(pod *corev1.Pod) bool { return pod.Annotations["shoot-proxy.io/status"] != "" }
