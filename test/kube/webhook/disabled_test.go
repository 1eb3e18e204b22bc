// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/webhook"
)

const (
	configHead = "apiVersion: config.shoot-proxy.io/v1alpha1\nkind: InjectionConfig\n"
	// leftOut is the namespace in testdata/values.yaml for which kube-apiserver does not
	// call the webhook.
	leftOut = "left-out"
)

// skippedAs is the series that counts the pods which a configuration leaves alone.
const skippedAs = `shoot_proxy_webhook_requests_total{decision="skip",reason="config_disabled"}`

// metrics reads the webhook's metrics.
func (h *hook) metrics(t testing.TB) lab.Metrics {
	t.Helper()
	text, err := lab.Get(within(t, patience), http.DefaultClient, "http://"+h.health+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return lab.ParseMetrics(text)
}

// eventuallyLeftAlone creates a labelled pod until it stays as it is, and is warned of.
// The webhook may need a moment to read a change.
func (in *installed) eventuallyLeftAlone(t *testing.T, namespace, source string) {
	t.Helper()
	want := webhook.WarningDisabled + source
	eventually(t, "a labelled pod to be left alone", func(context.Context) error {
		in.warnings.take()
		before := in.metrics(t)[skippedAs]
		pod, err := in.create(t, namespace, labelled(nil))
		if err != nil {
			return err
		}
		if pod.Annotations[webhook.AnnotationStatus] != "" {
			return fmt.Errorf("pod %s is injected", pod.Name)
		}
		checkUntouched(t, pod)
		said := in.warnings.take()
		if !slices.ContainsFunc(said, func(w string) bool {
			return strings.HasPrefix(w, want) && strings.Contains(w, " says inject: disabled")
		}) {
			t.Errorf("the API server warns %q, want %q and inject: disabled", said, want)
		}
		if counted := in.metrics(t)[skippedAs] - before; counted != 1 {
			t.Errorf("%s grew by %v, want 1", skippedAs, counted)
		}
		return nil
	})
}

// testDisabledNamespace: a labelled pod in a namespace whose ConfigMap says so stays as it
// is. explain and check say the same. A value that is misspelt refuses the pod.
func (in *installed) testDisabledNamespace(t *testing.T) {
	namespace, other := in.namespace(t, "disabled", nil), in.namespace(t, "enabled", nil)
	own := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: webhook.DefaultConfigMap},
		Data:       map[string]string{webhook.ConfigKey: configHead + "inject: disabled\n"},
	}
	configMaps := in.client.CoreV1().ConfigMaps(namespace)
	if _, err := configMaps.Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.eventuallyLeftAlone(t, namespace, `ConfigMap "shoot-proxy"`)
	in.eventuallyInjected(t, other, labelled(nil), "shoot-pod-cidr", "100.64.0.0/12")

	// A pod that could not be injected is left alone too.
	stays := labelled(nil, func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	if made, err := in.create(t, namespace, stays); err != nil {
		t.Errorf("a pod that cannot be injected, and is not to be: %v", err)
	} else {
		checkUntouched(t, made)
	}

	file := t.TempDir() + "/configmap.yaml"
	if err := os.WriteFile(file, []byte(own.Data[webhook.ConfigKey]), 0o644); err != nil {
		t.Fatal(err)
	}
	explanation, code := in.explain(t, namespace, labelled(nil), "--configmap", file)
	if code != 0 || !strings.Contains(explanation, "skip: ") || !strings.Contains(explanation, "says inject: disabled") || !strings.Contains(explanation, "warning: not injected: ") {
		t.Errorf("explain (exit code %d) says\n%s", code, explanation)
	}
	admin, err := in.AdminKubeconfig()
	if err != nil {
		t.Fatal(err)
	}
	if said, code := in.check(t, admin, "dry-run", "--namespace="+namespace); code != 1 || !strings.Contains(said, `alone: ConfigMap "shoot-proxy" says inject: disabled`) {
		t.Errorf("check (exit code %d) says: %s", code, said)
	}
	if said, code := in.check(t, admin, "dry-run", "--namespace="+namespace, "--allow-refusal"); code != 0 || !strings.Contains(said, "the webhook answers") {
		t.Errorf("check --allow-refusal (exit code %d) says: %s", code, said)
	}

	own.Data[webhook.ConfigKey] = configHead + "inject: disable\n"
	if _, err := configMaps.Update(t.Context(), own, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.eventuallyRefused(t, namespace, labelled(nil), `ConfigMap "shoot-proxy" cannot be used (inject)`)
	if err := configMaps.Delete(t.Context(), own.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	in.eventuallyInjected(t, namespace, labelled(nil), "shoot-pod-cidr", "100.64.0.0/12")
}

// testDisabledCluster: the operator's file leaves the labelled pods of every namespace
// alone, except where a ConfigMap says otherwise. The running webhook reads it again.
func (in *installed) testDisabledCluster(t *testing.T) {
	namespace, moved := in.namespace(t, "not-yet", nil), in.namespace(t, "moved", nil)
	enabled := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: webhook.DefaultConfigMap},
		Data:       map[string]string{webhook.ConfigKey: configHead + "inject: enabled\n"},
	}
	if _, err := in.client.CoreV1().ConfigMaps(moved).Create(t.Context(), enabled, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	before := read(t, in.config)
	defer func() { // for the parts that follow
		if err := os.WriteFile(in.config, before, 0o644); err != nil {
			t.Error(err)
		}
		in.awaitInjection(t, namespace, true)
	}()
	if err := os.WriteFile(in.config, append(slices.Clone(before), "\ninject: disabled\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	in.eventuallyLeftAlone(t, namespace, "--config")
	in.eventuallyInjected(t, moved, labelled(nil), "shoot-pod-cidr", "100.64.0.0/12")
}

// testLeftOut: kube-apiserver does not call the webhook for a namespace that the chart
// leaves out. A labelled pod stays as it is there, without a warning and without a count.
// So the documents advise the ConfigMap.
func (in *installed) testLeftOut(t *testing.T) {
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: leftOut}}
	if _, err := in.client.CoreV1().Namespaces().Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	in.furnished(t, leftOut)
	before := in.metrics(t).Sum("shoot_proxy_webhook_requests_total")
	pod, err := in.create(t, leftOut, labelled(nil))
	if err != nil {
		t.Fatal(err)
	}
	checkUntouched(t, pod)
	if said := in.warnings.take(); len(said) > 0 {
		t.Errorf("the API server warns %q", said)
	}
	if after := in.metrics(t).Sum("shoot_proxy_webhook_requests_total"); after != before {
		t.Errorf("the webhook counts %v requests more", after-before)
	}
}
