// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

const (
	namespacesPath = "/api/v1/namespaces"
	configMapPath  = "/api/v1/namespaces/shop/configmaps/shoot-proxy"
	clusterPath    = "/apis/extensions.gardener.cloud/v1alpha1/clusters/shop"
)

// newCluster runs sources with a fake API server, until they are ready.
func newCluster(t *testing.T) (*inCluster, *fakeAPIServer) {
	t.Helper()
	f, config := newFakeAPIServer(t)
	f.watches[namespacesPath] = []any{namespaceMetadata("shop", map[string]string{source.PodSecurity: "restricted", "team": "a"}), namespaceMetadata("kube-system", nil)}
	f.watches["/api/v1/nodes"] = []any{nodeObject("a", "v1.34.0"), nodeObject("b", "v1.33.2")}
	log := &logtest.Buffer{}
	s, err := newInCluster(t.Context(), config, log.Logger(slog.LevelDebug))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(hangGuard); s.ready() != nil || !s.nodesSynced(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %v; log:\n%s", s.ready(), log)
		}
	}
	return s, f
}

func TestNamespaces(t *testing.T) {
	s, f := newCluster(t)
	for name, want := range map[string]string{"shop": "restricted", "kube-system": ""} {
		got, err := s.Namespace(t.Context(), name)
		if diff := cmp.Diff(webhook.Namespace{Name: name, PodSecurity: want}, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	// Newer than the watch, and missing.
	f.told(namespacesPath+"/new", found(corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new", Labels: map[string]string{source.PodSecurity: "baseline"}}}))
	if got, err := s.Namespace(t.Context(), "new"); got.PodSecurity != "baseline" || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	f.told(namespacesPath+"/none", failed(http.StatusNotFound, metav1.StatusReasonNotFound))
	if got, err := s.Namespace(t.Context(), "none"); err == nil {
		t.Errorf("%+v", got)
	}
}

func TestNodesOfTheCluster(t *testing.T) {
	s, _ := newCluster(t)
	if got := s.OldestNode(&corev1.Pod{}); got != 33 {
		t.Errorf("the oldest is %d, want 33", got)
	}
	if got := s.OldestNode(&corev1.Pod{Spec: corev1.PodSpec{NodeSelector: map[string]string{corev1.LabelOSStable: "linux"}, NodeName: "a"}}); got != 34 {
		t.Errorf("the oldest is %d, want 34", got)
	}
	s.nodesSynced = func() bool { return false } // no right to list them
	if got := s.OldestNode(&corev1.Pod{}); got != 0 {
		t.Errorf("the oldest is %d, want 0", got)
	}
}

func shopsConfigMap(version, text string) corev1.ConfigMap {
	cm := corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "shoot-proxy", UID: "1", ResourceVersion: version},
	}
	if text != "" {
		cm.Data = map[string]string{webhook.ConfigKey: text}
	}
	return cm
}

// Each answer of the API server, one after the other.
func TestConfigMaps(t *testing.T) {
	s, f := newCluster(t)
	now := time.Now()
	s.configMaps.now = func() time.Time { return now }
	f.told(
		configMapPath,
		failed(http.StatusForbidden, metav1.StatusReasonForbidden),
		failed(http.StatusInternalServerError, metav1.StatusReasonInternalError),
		failed(http.StatusNotFound, metav1.StatusReasonNotFound),
		found(shopsConfigMap("1", "")),
		found(shopsConfigMap("2", secretive)),
		found(shopsConfigMap("3", operatorsFile)),
		found(shopsConfigMap("3", operatorsFile)),
		found(shopsConfigMap("4", operatorsFile+"policy: {}\n")),
	)
	var previous *webhook.Config
	for _, step := range []struct {
		name     string
		unusable string // the expected sentence
		detail   string
		failed   bool
		there    bool
		same     bool // not parsed again
	}{
		{name: "forbidden", failed: true},
		{name: "internal error", failed: true},
		{name: "not there"},
		{name: "no key", unusable: `ConfigMap "shoot-proxy" has no key config.yaml`},
		{name: "bad", unusable: `ConfigMap "shoot-proxy" cannot be used`, detail: "secret.example/12"},
		{name: "good", there: true},
		{name: "unchanged", there: true, same: true},
		{name: "the operator's section", unusable: "policy"},
	} {
		got, err := s.ConfigMap(t.Context(), "shop", "shoot-proxy")
		unusable, _ := err.(*source.UnusableError)
		switch {
		case step.failed:
			if err == nil || unusable != nil {
				t.Errorf("%s: %v", step.name, err)
			}
		case step.unusable != "":
			if unusable == nil || !strings.Contains(unusable.Sentence, step.unusable) || strings.Contains(unusable.Sentence, "secret.example") || !strings.Contains(unusable.Detail, step.detail) {
				t.Errorf("%s: %#v", step.name, err)
			}
		case err != nil || (got != nil) != step.there || (got == previous) != (step.same || !step.there):
			t.Errorf("%s: %v, %v", step.name, got, err)
		}
		if !step.failed { // a successful answer is cached, so the next step must wait until it is old
			if again, err := s.ConfigMap(t.Context(), "shop", "shoot-proxy"); again != got || (err == nil) != (step.unusable == "") {
				t.Errorf("%s: the second time %v, %v", step.name, again, err)
			}
		}
		previous = got
		now = now.Add(ConfigMapAge)
	}
}

func TestClusters(t *testing.T) {
	s, f := newCluster(t)
	now := time.Now()
	s.networks.now = func() time.Time { return now }
	unknown := func() (int, any) { return http.StatusNotFound, "404 page not found" } // the API group does not exist
	good := map[string]any{
		"apiVersion": "extensions.gardener.cloud/v1alpha1", "kind": "Cluster",
		"spec": map[string]any{"shoot": map[string]any{"spec": map[string]any{"networking": map[string]any{"pods": "100.64.0.0/12"}}}},
	}
	f.told(
		clusterPath,
		failed(http.StatusForbidden, metav1.StatusReasonForbidden),
		unknown,
		found(map[string]any{"spec": 1}),
		failed(http.StatusNotFound, metav1.StatusReasonNotFound),
		found(good),
	)
	if _, err := s.Networking(t.Context(), "shop"); err == nil || isUnusable(err) {
		t.Errorf("forbidden: %v", err)
	}
	if _, err := s.Networking(t.Context(), "shop"); err == nil || !strings.Contains(err.Error(), "turn policy.gardener off") {
		t.Errorf("no Gardener: %v", err)
	}
	if _, err := s.Networking(t.Context(), "shop"); !isUnusable(err) {
		t.Errorf("not usable: %v", err)
	}
	for range 2 { // asked once
		if got, err := s.Networking(t.Context(), "shop"); got != nil || err != nil {
			t.Errorf("no shoot's namespace: %+v, %v", got, err)
		}
	}
	now = now.Add(ClusterAge)
	for range 2 {
		got, err := s.Networking(t.Context(), "shop")
		if diff := cmp.Diff(&webhook.Networking{Source: "Cluster shop", PodCIDRs: []string{"100.64.0.0/12"}}, got); diff != "" || err != nil {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// If the API server does not answer, a pod's admission takes no longer than its
// timeout.
func TestAnAPIServerThatHangs(t *testing.T) {
	s, f := newCluster(t)
	release := make(chan struct{})
	f.told(configMapPath, func() (int, any) { <-release; return http.StatusOK, shopsConfigMap("1", operatorsFile) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if got, err := s.ConfigMap(ctx, "shop", "shoot-proxy"); err == nil {
		t.Errorf("%+v", got)
	}
	close(release)
	// A later caller gets the answer to the same request, or a cached one.
	if got, err := s.ConfigMap(t.Context(), "shop", "shoot-proxy"); got == nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func isUnusable(err error) bool {
	_, ok := errors.AsType[*source.UnusableError](err)
	return ok
}
