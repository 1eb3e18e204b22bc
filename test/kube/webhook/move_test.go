// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// testMove: the steps of docs/vpn.md that concern the webhook, with its ConfigMap and a
// StatefulSet. The template does not change. A pod that is deleted comes back as the
// ConfigMap says at that time, and the other pod stays as it is.
func (in *installed) testMove(t *testing.T) {
	namespace := in.namespace(t, "monitoring", nil)
	own := documentedConfigMap(t)
	if !strings.Contains(own.Data[webhook.ConfigKey], "inject: disabled\n") {
		t.Fatalf("the ConfigMap of docs/vpn.md does not disable: %q", own.Data)
	}
	own.Namespace = ""
	if _, err := in.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	template := labelled(nil)
	template.Labels["app"] = "prometheus"
	replicas := int32(2)
	_, err := in.client.AppsV1().StatefulSets(namespace).Create(t.Context(), &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "prometheus-shoot"},
		Spec: appsv1.StatefulSetSpec{
			Replicas:            &replicas,
			PodManagementPolicy: appsv1.ParallelPodManagement, // no kubelet makes a pod ready
			Selector:            &metav1.LabelSelector{MatchLabels: map[string]string{"app": "prometheus"}},
			Template:            corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: template.Labels}, Spec: template.Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	in.wantReplicas(t, namespace, false, false)

	in.switchTo(t, namespace, own, "enabled", true)
	in.wantReplicas(t, namespace, false, false)
	in.deletePod(t, namespace, "prometheus-shoot-1")
	in.wantReplicas(t, namespace, false, true)
	in.deletePod(t, namespace, "prometheus-shoot-0")
	in.wantReplicas(t, namespace, true, true)

	in.switchTo(t, namespace, own, "disabled", false)
	in.wantReplicas(t, namespace, true, true)
	in.deletePod(t, namespace, "prometheus-shoot-1")
	in.wantReplicas(t, namespace, true, false)
	in.deletePod(t, namespace, "prometheus-shoot-0")
	in.wantReplicas(t, namespace, false, false)
}

// documentedConfigMap returns the ConfigMap that docs/vpn.md tells its readers to write.
func documentedConfigMap(t *testing.T) *corev1.ConfigMap {
	t.Helper()
	text, err := os.ReadFile("../../../docs/vpn.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n# shoot-proxy.yaml\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/vpn.md has no shoot-proxy.yaml")
	}
	object := parse(t, "docs/vpn.md", block[1])[0]
	data, _ := object.Object["data"].(map[string]any)
	config, _ := data[webhook.ConfigKey].(string)
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: object.GetName()}, Data: map[string]string{webhook.ConfigKey: config}}
}

// switchTo writes another value of inject into the ConfigMap, and waits until the webhook
// uses it.
func (in *installed) switchTo(t *testing.T, namespace string, own *corev1.ConfigMap, value string, injects bool) {
	t.Helper()
	own.Data[webhook.ConfigKey] = regexp.MustCompile(`inject: \w+`).ReplaceAllString(own.Data[webhook.ConfigKey], "inject: "+value)
	if _, err := in.client.CoreV1().ConfigMaps(namespace).Update(t.Context(), own, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.awaitInjection(t, namespace, injects)
}

// awaitInjection waits until labelled pods are injected, or until they are not.
func (in *installed) awaitInjection(t *testing.T, namespace string, injects bool) {
	t.Helper()
	eventually(t, "the webhook to read its configuration", func(context.Context) error {
		pod, err := in.rehearse(t, namespace, labelled(nil))
		if err != nil {
			return err
		}
		if isInjected(pod) != injects {
			return fmt.Errorf("injected: %v", isInjected(pod))
		}
		return nil
	})
}

func isInjected(pod *corev1.Pod) bool { return pod.Annotations[webhook.AnnotationStatus] != "" }

func (in *installed) deletePod(t *testing.T, namespace, name string) {
	t.Helper()
	if err := in.client.CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// wantReplicas waits until both pods are there, and expects which of them are injected.
func (in *installed) wantReplicas(t *testing.T, namespace string, zero, one bool) {
	t.Helper()
	eventually(t, "both replicas", func(ctx context.Context) error {
		for name, injected := range map[string]bool{"prometheus-shoot-0": zero, "prometheus-shoot-1": one} {
			pod, err := in.client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.DeletionTimestamp != nil {
				return errors.New(name + " is being deleted")
			}
			if isInjected(pod) != injected {
				return fmt.Errorf("%s is injected: %v", name, !injected)
			}
			if !injected {
				checkUntouched(t, pod)
			}
		}
		return nil
	})
}
