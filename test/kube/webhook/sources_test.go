// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// eventuallyInjected rehearses a pod until init-redirect gets a value. The webhook may
// need a moment to read a change.
func (in *installed) eventuallyInjected(t *testing.T, namespace string, pod *corev1.Pod, name, value string) {
	t.Helper()
	eventually(t, fmt.Sprintf("--%s=%s", name, value), func(context.Context) error {
		made, err := in.rehearse(t, namespace, pod)
		if err != nil {
			return err
		}
		in.checkInjected(t, made)
		if got := flag(t, made, initRedirect, name); got != value {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

// eventuallyRefused rehearses a pod until it is refused with a sentence that contains the
// text.
func (in *installed) eventuallyRefused(t *testing.T, namespace string, pod *corev1.Pod, said string) string {
	t.Helper()
	var refusal string
	eventually(t, "a refusal", func(context.Context) error {
		made, err := in.rehearse(t, namespace, pod)
		if err == nil {
			return fmt.Errorf("it is accepted as %s", made.Name)
		}
		if refusal = sentence(t, err); !strings.Contains(refusal, said) {
			return fmt.Errorf("it says %s", refusal)
		}
		return nil
	})
	return refusal
}

func (in *installed) testConfigMap(t *testing.T) {
	namespace := in.namespace(t, "configmap", nil)
	in.eventuallyInjected(t, namespace, labelled(nil), "shoot-pod-cidr", "100.64.0.0/12")
	const head = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\n"
	own := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "shoot-proxy"},
		Data:       map[string]string{"config.yaml": head + "shoot: {podCIDRs: [172.20.0.0/16]}\n"},
	}
	configMaps := in.client.CoreV1().ConfigMaps(namespace)
	if _, err := configMaps.Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.eventuallyInjected(t, namespace, labelled(nil), "shoot-pod-cidr", "172.20.0.0/16")
	in.eventuallyInjected(t, namespace, labelled(map[string]string{"pod-cidrs": "172.21.0.0/16"}), "shoot-pod-cidr", "172.21.0.0/16")

	// Pods of another namespace do not use it.
	other := in.namespace(t, "configmap", nil)
	in.eventuallyInjected(t, other, labelled(nil), "shoot-pod-cidr", "100.64.0.0/12")

	// A value that cannot be used is refused, and not quoted.
	own.Data["config.yaml"] = head + "shoot: {podCIDRs: [hunter2]}\n"
	if _, err := configMaps.Update(t.Context(), own, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	said := in.eventuallyRefused(t, namespace, labelled(nil), `ConfigMap "shoot-proxy"`)
	if strings.Contains(said, "hunter2") {
		t.Errorf("the refusal quotes the ConfigMap: %s", said)
	}
	if err := configMaps.Delete(t.Context(), own.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	in.eventuallyInjected(t, namespace, labelled(nil), "shoot-pod-cidr", "100.64.0.0/12")
}

func (in *installed) testOtherConfigMap(t *testing.T) {
	namespace := in.namespace(t, "configmap", nil)
	text := map[string]string{"config.yaml": "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\nshoot: {podCIDRs: [172.20.0.0/16]}\n"}
	for _, name := range []string{"shoot-other", "mine"} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: text}
		if _, err := in.client.CoreV1().ConfigMaps(namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	in.eventuallyInjected(t, namespace, labelled(map[string]string{"config": "shoot-other"}), "shoot-pod-cidr", "172.20.0.0/16")
	_, err := in.rehearse(t, namespace, labelled(map[string]string{"config": "mine"}))
	if said := sentence(t, err); !strings.Contains(said, `"mine"`) {
		t.Errorf("the refusal does not name the ConfigMap: %s", said)
	}
	// A source that is listed and missing is refused too: the pod's author relies on it.
	empty := in.namespace(t, "configmap", nil)
	_, err = in.rehearse(t, empty, labelled(map[string]string{"config": "shoot-other"}))
	if said := sentence(t, err); !strings.Contains(said, `"shoot-other"`) {
		t.Errorf("the refusal does not name the ConfigMap: %s", said)
	}
}

func (in *installed) testGardener(t *testing.T) {
	namespace := in.namespace(t, "shoot--project--name", nil)
	// These are the field names of a Shoot of core.gardener.cloud/v1beta1.
	cluster := parse(t, "a Cluster", []byte(`
apiVersion: extensions.gardener.cloud/v1alpha1
kind: Cluster
metadata: {name: `+namespace+`}
spec:
  cloudProfile: {apiVersion: core.gardener.cloud/v1beta1, kind: CloudProfile}
  seed: {apiVersion: core.gardener.cloud/v1beta1, kind: Seed}
  shoot:
    apiVersion: core.gardener.cloud/v1beta1
    kind: Shoot
    metadata: {name: name, namespace: garden-project}
    spec:
      networking: {type: calico, pods: 100.80.0.0/16, services: 100.81.0.0/16, nodes: 10.180.0.0/16}
`))
	in.applyAll(t, cluster)
	pod := labelled(nil)
	in.eventuallyInjected(t, namespace, pod, "shoot-pod-cidr", "100.80.0.0/16")
	in.eventuallyInjected(t, namespace, pod, "shoot-service-cidr", "100.81.0.0/16")
	in.eventuallyInjected(t, namespace, pod, "shoot-node-cidr", "10.180.0.0/16")
	in.eventuallyInjected(t, namespace, labelled(map[string]string{"pod-cidrs": "100.82.0.0/16"}), "shoot-pod-cidr", "100.82.0.0/16")
}

func (in *installed) testOldNodes(t *testing.T) {
	namespace := in.namespace(t, "old", nil)
	in.node(t, "old", "v1.28.15")
	eventually(t, "the classic order", func(context.Context) error {
		pod, err := in.rehearse(t, namespace, labelled(nil))
		if err != nil {
			return err
		}
		first := pod.Spec.InitContainers
		if len(first) != 2 || first[0].Name != initRedirect || pod.Spec.Containers[0].Name != proxyClient {
			return fmt.Errorf("there are %d init containers, and the first container is %s", len(first), pod.Spec.Containers[0].Name)
		}
		return nil
	})
	if err := in.client.CoreV1().Nodes().Delete(t.Context(), "old", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the native sidecar", func(context.Context) error {
		pod, err := in.rehearse(t, namespace, labelled(nil))
		if err != nil {
			return err
		}
		if pod.Spec.Containers[0].Name == proxyClient {
			return fmt.Errorf("proxy-client is still a container")
		}
		in.checkInjected(t, pod)
		return nil
	})
}
