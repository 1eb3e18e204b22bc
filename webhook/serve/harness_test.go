// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/podpatch/podpatchtest"
)

// hangGuard ends a test that would otherwise wait for ever.
const hangGuard = 30 * time.Second

const operatorsFile = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: InjectionConfig
shoot: {podCIDRs: [100.64.0.0/12]}
proxyServer:
  addresses: ["vpn-proxy-server:8090"]
  tls: {caSecret: ca-proxy, clientSecret: proxy-client-tls}
`

// fakeSources give the answers that were set, and fail the test for any other request.
type fakeSources struct {
	t          testing.TB
	namespace  func(name string) (webhook.Namespace, error)
	configMap  func(namespace, name string) (*webhook.Config, error)
	networking func(namespace string) (*webhook.Networking, error)
	oldestNode func(*corev1.Pod) int
}

func (f *fakeSources) Namespace(_ context.Context, name string) (webhook.Namespace, error) {
	if f.namespace == nil {
		f.t.Errorf("nobody should ask for namespace %q", name)
		return webhook.Namespace{}, nil
	}
	return f.namespace(name)
}

func (f *fakeSources) ConfigMap(_ context.Context, namespace, name string) (*webhook.Config, error) {
	if f.configMap == nil {
		f.t.Errorf("nobody should ask for ConfigMap %s/%s", namespace, name)
		return nil, nil
	}
	return f.configMap(namespace, name)
}

func (f *fakeSources) Networking(_ context.Context, namespace string) (*webhook.Networking, error) {
	if f.networking == nil {
		f.t.Errorf("nobody should ask for Cluster %q", namespace)
		return nil, nil
	}
	return f.networking(namespace)
}

func (f *fakeSources) OldestNode(pod *corev1.Pod) int {
	if f.oldestNode == nil {
		f.t.Errorf("nobody should ask for the nodes of %q", pod.Name)
		return 0
	}
	return f.oldestNode(pod)
}

func (f *fakeSources) run(ctx context.Context) error { <-ctx.Done(); return nil }
func (f *fakeSources) ready() error                  { return nil }

// plainSources returns sources with no ConfigMap, no Cluster, and new nodes.
func plainSources(t testing.TB) *fakeSources {
	return &fakeSources{
		t:          t,
		namespace:  func(name string) (webhook.Namespace, error) { return webhook.Namespace{Name: name}, nil },
		configMap:  func(string, string) (*webhook.Config, error) { return nil, nil },
		oldestNode: func(*corev1.Pod) int { return 33 },
	}
}

// testHandler is a handler with its log and its metrics.
type testHandler struct {
	t        testing.TB
	handler  http.Handler
	log      *logtest.Buffer
	registry *prometheus.Registry
}

func newTestHandler(t testing.TB, sources Sources, defaults *webhook.Config) *testHandler {
	r := &testHandler{t: t, log: &logtest.Buffer{}, registry: prometheus.NewRegistry()}
	r.handler = NewHandler(HandlerConfig{
		Sources: sources, Defaults: func() *webhook.Config { return defaults },
		Images:  webhook.Images{ProxyClient: "registry.example/proxy-client:v1", InitRedirect: "registry.example/init-redirect:v1"},
		Version: "v1", Metrics: NewMetrics(r.registry), Logger: r.log.Logger(slog.LevelDebug), Draining: func() bool { return false },
	})
	return r
}

// post sends a body as kube-apiserver would.
func (r *testHandler) post(body []byte) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, Path, bytes.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	recorder := httptest.NewRecorder()
	r.handler.ServeHTTP(recorder, request)
	return recorder
}

// admit sends a request and returns the response to it.
func (r *testHandler) admit(request *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	r.t.Helper()
	recorder := r.post(review(r.t, request))
	if recorder.Code != http.StatusOK {
		r.t.Fatalf("status %d: %s", recorder.Code, recorder.Body)
	}
	return response(r.t, recorder.Body.Bytes(), request.UID)
}

// count returns a metric's count of a decision.
func (r *testHandler) count(decision, reason string) float64 {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != "shoot_proxy_webhook_requests_total" {
			continue
		}
		for _, metric := range family.GetMetric() {
			if metric.GetLabel()[0].GetValue() == decision && metric.GetLabel()[1].GetValue() == reason {
				return metric.GetCounter().GetValue()
			}
		}
	}
	r.t.Fatalf("there is no metric of %s, %s", decision, reason)
	return 0
}

func response(t testing.TB, body []byte, uid any) *admissionv1.AdmissionResponse {
	t.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		t.Fatalf("the answer is no AdmissionReview: %v\n%s", err, body)
	}
	if review.APIVersion != "admission.k8s.io/v1" || review.Kind != "AdmissionReview" || review.Response == nil || review.Response.UID != uid {
		t.Fatalf("the answer is not one to %v:\n%s", uid, body)
	}
	return review.Response
}

// review returns the body of an AdmissionReview.
func review(t testing.TB, request *admissionv1.AdmissionRequest) []byte {
	t.Helper()
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// creation returns the request to create a pod.
func creation(t testing.TB, pod *corev1.Pod) *admissionv1.AdmissionRequest {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	return &admissionv1.AdmissionRequest{
		UID: "0123", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		Namespace: "shop", Operation: admissionv1.Create, Object: runtime.RawExtension{Raw: raw},
	}
}

// labelled returns a pod that asks for an injection.
func labelled() *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Labels: map[string]string{webhook.Label: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "registry.example/web"}}},
	}
}

// prometheusPod returns the pod of a StatefulSet of the Prometheus Operator.
func prometheusPod(t testing.TB) *corev1.Pod {
	t.Helper()
	data, err := os.ReadFile("../testdata/prometheus-operator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// patched applies the patch of a response to the object of its request.
func patched(t testing.TB, request *admissionv1.AdmissionRequest, response *admissionv1.AdmissionResponse) []byte {
	t.Helper()
	if response.PatchType == nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Fatalf("the response has no JSON patch: %+v", response)
	}
	return podpatchtest.Apply(t, request.Object.Raw, response.Patch)
}

func config(t testing.TB, text string) *webhook.Config {
	t.Helper()
	c, err := webhook.ParseConfig("--config \"webhook.yaml\"", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}
