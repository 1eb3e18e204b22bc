// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// kill ends the webhook at once.
func (in *inspected) kill() {
	in.process.Kill()
	in.process = nil
}

// label gives a pod the label, as `kubectl label` does.
func (in *inspected) label(t testing.TB, pod string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata": {"labels": {%q: "true"}}}`, webhook.Label)
	pods := in.system.client.CoreV1().Pods(monitored)
	if _, err := pods.Patch(t.Context(), pod, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-label"}); err != nil {
		t.Fatal(err)
	}
}

func (in *inspected) patchPod(t testing.TB, name string, patch any) {
	t.Helper()
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in.system.client.CoreV1().Pods(monitored).Patch(t.Context(), name, types.MergePatchType, text, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (in *inspected) patchNamespace(t testing.TB, patch string) {
	t.Helper()
	if _, err := in.system.client.CoreV1().Namespaces().Patch(t.Context(), monitored, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (in *inspected) patchRegistration(t testing.TB, patch string) {
	t.Helper()
	name := in.chart.of(t, "MutatingWebhookConfiguration").GetName()
	if _, err := in.system.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), name, types.JSONPatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	in.settle(t)
}

// unregister deletes the MutatingWebhookConfiguration.
func (in *inspected) unregister(t testing.TB) {
	t.Helper()
	in.remove(t, manifests{in.chart.of(t, "MutatingWebhookConfiguration")})
	in.settle(t)
}

// register makes the MutatingWebhookConfiguration again, as `helm upgrade` does.
func (in *inspected) register(t testing.TB) {
	t.Helper()
	in.applyAll(t, manifests{in.chart.of(t, "MutatingWebhookConfiguration")})
	in.awaitInjection(t)
}

// awaitInjection waits until the API server trusts the webhook.
//
// kube-apiserver can keep an older registration until the next change of it: if it was
// listed before the change and is stored after it (getMutatingWebhookConfigurations of
// k8s.io/apiserver v0.36). Then the CA is missing for good. So the registration is touched
// if the API server does not know the CA.
func (in *inspected) awaitInjection(t testing.TB) {
	t.Helper()
	eventually(t, "the API server to trust the webhook", func(context.Context) error {
		pod, err := in.rehearse(t, monitored, labelled(nil))
		if err != nil && strings.Contains(err.Error(), "unknown authority") {
			in.patchRegistration(t, fmt.Sprintf(`[{"op": "add", "path": "/metadata/labels/touched", "value": "%d"}]`, time.Now().UnixNano()))
		}
		if err == nil && pod.Annotations[webhook.AnnotationStatus] == "" {
			err = errors.New("the pod is not injected")
		}
		return err
	})
}

// awaitOldest waits until the webhook knows the same nodes as the API server: a dry run
// of a pod then gets what the inspection computes.
func (in *inspected) awaitOldest(t testing.TB) {
	t.Helper()
	eventually(t, "the webhook to know the nodes", func(context.Context) error {
		for _, f := range in.inspect(t).Findings {
			if f.Check == "configuration-in-use" {
				return errors.New(f.Message)
			}
		}
		return nil
	})
}

// configMap gives the monitored namespace a configuration of its own.
func (in *inspected) configMap(t testing.TB, text string) (remove func()) {
	t.Helper()
	maps := in.system.client.CoreV1().ConfigMaps(monitored)
	_, err := maps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: webhook.DefaultConfigMap},
		Data:       map[string]string{webhook.ConfigKey: "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\n" + text + "\n"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := maps.Delete(t.Context(), webhook.DefaultConfigMap, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitConfigMap waits until new pods get a proxy-server.
func (in *inspected) awaitConfigMap(t testing.TB, address string) {
	t.Helper()
	in.awaitArgument(t, "--proxy-server="+address, true)
}

// awaitArgument waits until the sidecars of new pods get an argument, or get it no more.
func (in *inspected) awaitArgument(t testing.TB, argument string, want bool) {
	t.Helper()
	eventually(t, "the webhook to use "+argument+", or not", func(context.Context) error {
		pod, err := in.rehearse(t, monitored, labelled(nil))
		if err != nil {
			return err
		}
		if args := pod.Spec.InitContainers[1].Args; slices.Contains(args, argument) != want {
			return fmt.Errorf("a pod gets %q", args)
		}
		return nil
	})
}

// exit gives the monitored pod an exit, whose Secrets the test makes.
func (in *inspected) exit(t testing.TB) (remove func()) {
	t.Helper()
	again := func(want bool) {
		in.deletePod(t, monitored, "app")
		in.awaitArgument(t, "--exit=exit:9443", want)
		in.pod(t, "app", labelled(nil))
	}
	end := in.configMap(t, "exit: {addresses: ['exit:9443'], tls: {caSecret: exit-ca, clientSecret: exit-client-tls}}")
	again(true)
	return func() { end(); again(false) }
}

// serverReady says whether the proxy-server's pod is ready.
func (in *inspected) serverReady(t testing.TB, ready bool) {
	t.Helper()
	status := map[bool]string{true: "True", false: "False"}[ready]
	patch := fmt.Sprintf(`{"status": {"conditions": [{"type": "Ready", "status": %q}]}}`, status)
	client := in.system.client
	if _, err := client.CoreV1().Pods(shootsOwn).Patch(t.Context(), serverName+"-0", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the proxy-server's endpoint", func(ctx context.Context) error {
		list, err := client.DiscoveryV1().EndpointSlices(shootsOwn).List(ctx, metav1.ListOptions{})
		if err == nil && (readyEndpoints(list.Items) == 1) != ready {
			err = errors.New("it has the other state")
		}
		return err
	})
}

func deployment(name string, own, template map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	for key, value := range template {
		labels[key] = value
	}
	none := int32(0)
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: own},
		Spec: appsv1.DeploymentSpec{
			Replicas: &none,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: unlabelled().Spec},
		},
	}
}

func (in *inspected) deployment(t testing.TB, d *appsv1.Deployment) (remove func()) {
	t.Helper()
	deployments := in.system.client.AppsV1().Deployments(monitored)
	if _, err := deployments.Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := deployments.Delete(t.Context(), d.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (in *inspected) quota(t testing.TB, hard corev1.ResourceList) (remove func()) {
	t.Helper()
	quotas := in.system.client.CoreV1().ResourceQuotas(monitored)
	if _, err := quotas.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "cpu"}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := quotas.Delete(t.Context(), "cpu", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func (in *inspected) policy(t testing.TB, namespace string, spec networkingv1.NetworkPolicySpec) (remove func()) {
	t.Helper()
	policies := in.system.client.NetworkingV1().NetworkPolicies(namespace)
	if _, err := policies.Create(t.Context(), &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "strict"}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := policies.Delete(t.Context(), "strict", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func ports(protocol corev1.Protocol, number int32) []networkingv1.NetworkPolicyPort {
	port := intstr.FromInt32(number)
	return []networkingv1.NetworkPolicyPort{{Protocol: &protocol, Port: &port}}
}
