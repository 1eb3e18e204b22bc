// SPDX-License-Identifier: Apache-2.0

package dryrun

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// hangTimeout ends a test that would otherwise wait for ever.
const hangTimeout = time.Minute

// server is an API server that gives each answer once, and the last one again and
// again.
type server struct {
	t       *testing.T
	answers []any
	asked   int
	// before is called with the number of earlier requests, if it is set.
	before func(asked int)
}

// ServeHTTP implements http.Handler.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked++
	if s.before != nil {
		s.before(s.asked)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/api/v1/namespaces/monitoring/pods" || r.URL.Query().Get("dryRun") != "All" {
		s.t.Errorf("asked for %s %s", r.Method, r.URL)
	}
	var sent corev1.Pod
	if err := json.NewDecoder(r.Body).Decode(&sent); err != nil || sent.Labels[webhook.Label] != "true" || sent.Spec.Containers[0].Image != "app:1" {
		s.t.Errorf("asked for another pod: %v, %v", err, sent)
	}
	next := s.answers[min(s.asked, len(s.answers))-1]
	switch next.(type) {
	case leftAlone:
		next = pod(nil)
		w.Header().Set("Warning", `299 - "not injected: ConfigMap \"shoot-proxy\" says inject: disabled"`)
	case leftAloneAndFailed:
		next = failure(500, metav1.StatusReasonInternalError, "etcd")
		w.Header().Set("Warning", `299 - "not injected: ConfigMap \"shoot-proxy\" says inject: disabled"`)
	}
	w.Header().Set("Content-Type", "application/json")
	if status, ok := next.(metav1.Status); ok {
		w.WriteHeader(int(status.Code))
	} else {
		w.WriteHeader(http.StatusCreated)
	}
	if err := json.NewEncoder(w).Encode(next); err != nil {
		s.t.Error(err)
	}
}

// leftAlone is the answer if the webhook's configuration leaves labelled pods alone.
// leftAloneAndFailed is the same, and then the API server itself fails.
type (
	leftAlone          struct{}
	leftAloneAndFailed struct{}
)

// run calls Run with the server.
func (s *server) run(ctx context.Context, change func(*Config)) (sentence string, err error) {
	api := httptest.NewServer(s)
	defer api.Close()
	cfg := config(api.URL)
	change(&cfg)
	return Run(ctx, cfg)
}

func config(url string) Config {
	cluster := &rest.Config{Host: url, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
	return Config{Cluster: cluster, Namespace: "monitoring", Image: "app:1", Timeout: hangTimeout}
}

func failure(code int32, reason metav1.StatusReason, message string) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: code, Reason: reason, Message: message,
	}
}

func pod(annotations map[string]string) corev1.Pod {
	return corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
}

const (
	refused = `admission webhook "inject.shoot-proxy.io" denied the request: no CIDRs`
	failed  = `Internal error occurred: failed calling webhook "inject.shoot-proxy.io": connection refused`
)

// heard are the warnings that reach the caller's handler.
type heard struct{ texts []string }

func (h *heard) HandleWarningHeader(_ int, _, text string) { h.texts = append(h.texts, text) }

// TestWarningsReachTheCaller: Run reads the API server's warnings, and the handler of the
// caller's configuration still gets them.
func TestWarningsReachTheCaller(t *testing.T) {
	h := &heard{}
	s := &server{t: t, answers: []any{leftAlone{}}}
	if _, err := s.run(t.Context(), func(c *Config) { c.Cluster.WarningHandler = h }); err == nil {
		t.Error("a pod that is left alone is a success")
	}
	if want := `not injected: ConfigMap "shoot-proxy" says inject: disabled`; len(h.texts) != 1 || h.texts[0] != want {
		t.Errorf("the caller's handler got %q, want %q", h.texts, want)
	}
}

// Every answer of an API server becomes one sentence, which says what to do.
func TestWhatBecomesOfThePod(t *testing.T) {
	allow := func(c *Config) { c.AllowRefusal = true }
	same := func(*Config) {}
	injected := pod(map[string]string{webhook.AnnotationStatus: `{"version":"v1"}`})
	unavailable := failure(503, metav1.StatusReasonServiceUnavailable, `admission webhook "inject.shoot-proxy.io" denied the request: try again`)
	for _, tt := range []struct {
		name    string
		change  func(*Config)
		answers []any
		want    string // contained in the sentence
		err     string
		asked   int
	}{
		{"injected", same, []any{injected}, `a labelled pod in namespace "monitoring" is injected: {"version":"v1"}`, "", 1},
		{"not asked", same, []any{pod(nil)}, "", `makes a labelled pod in namespace "monitoring" without asking the webhook: name a namespace`, 1},
		{"left alone", same, []any{leftAlone{}}, "", `the webhook leaves a labelled pod in namespace "monitoring" alone: ConfigMap "shoot-proxy" says inject: disabled`, 1},
		{"left alone, which is allowed", allow, []any{leftAlone{}}, `the webhook answers; it leaves a labelled pod in namespace "monitoring" alone: ConfigMap`, "", 1},
		{"left alone at an earlier request", same, []any{leftAloneAndFailed{}, pod(nil)}, "", "without asking the webhook", 2},
		{"refused", same, []any{failure(403, metav1.StatusReasonForbidden, refused)}, "", `the webhook refuses a labelled pod in namespace "monitoring": no CIDRs`, 1},
		{"refused, which is allowed", allow, []any{failure(403, metav1.StatusReasonForbidden, refused)}, `the webhook answers; it refuses a labelled pod in namespace "monitoring": no CIDRs`, "", 1},
		{"refused by another", allow, []any{failure(403, metav1.StatusReasonForbidden, `pods "a" is forbidden: violates PodSecurity`)}, "", `is refused, but not by the webhook: pods "a" is forbidden: violates PodSecurity`, 1},
		{"no namespace", same, []any{failure(404, metav1.StatusReasonNotFound, `namespaces "monitoring" not found`)}, "", `there is no namespace "monitoring"`, 1},
		{"no rights", same, []any{failure(403, metav1.StatusReasonForbidden, `pods is forbidden: User "a" cannot create resource "pods" in API group ""`)}, "", `may not make pods in namespace "monitoring": give a --kubeconfig with that right`, 1},
		{"nobody", same, []any{failure(401, metav1.StatusReasonUnauthorized, "Unauthorized")}, "", "may not make pods", 1},
		{"invalid", same, []any{failure(422, metav1.StatusReasonInvalid, "bad")}, "", "is refused, but not by the webhook: bad", 1},
		{"not reached at first", same, []any{failure(500, metav1.StatusReasonInternalError, failed), injected}, "is injected", "", 2},
		{"undecided at first", allow, []any{unavailable, injected}, "is injected", "", 2},
		{"overloaded at first", same, []any{failure(500, metav1.StatusReasonInternalError, "etcd"), injected}, "is injected", "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &server{t: t, answers: tt.answers}
			sentence, err := s.run(t.Context(), tt.change)
			if s.asked != tt.asked {
				t.Errorf("asked %d times, want %d", s.asked, tt.asked)
			}
			if tt.err == "" && (err != nil || !strings.Contains(sentence, tt.want)) {
				t.Errorf("got %q, %v; want %q", sentence, err, tt.want)
			}
			if tt.err != "" && (err == nil || sentence != "" || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got %q, %v; want error %q", sentence, err, tt.err)
			}
		})
	}
}

// After the timeout, the error is the last reason, and not the timeout.
func TestWebhookThatIsNeverReached(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := &server{t: t, answers: []any{failure(500, metav1.StatusReasonInternalError, failed)}, before: func(asked int) {
		if asked == 3 {
			cancel()
		}
	}}
	_, err := s.run(ctx, func(*Config) {})
	if err == nil || !strings.HasPrefix(err.Error(), "the API server cannot ask the webhook: "+failed) {
		t.Errorf("got %v", err)
	}
}

// If there is no API server, Run asks again until the timeout.
func TestNoAPIServer(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cfg, dials := config("http://127.0.0.1:1"), 0
	cfg.Cluster.Dial = func(context.Context, string, string) (net.Conn, error) {
		if dials++; dials == 3 {
			cancel()
		}
		return nil, errors.New("nobody is there")
	}
	_, err := Run(ctx, cfg)
	if err == nil || !strings.HasPrefix(err.Error(), "the API server does not answer: ") || !strings.Contains(err.Error(), "nobody is there") {
		t.Errorf("got %v", err)
	}
}

func TestTimeout(t *testing.T) {
	s := &server{t: t, answers: []any{pod(nil)}}
	if _, err := s.run(t.Context(), func(c *Config) { c.Timeout = time.Nanosecond }); err == nil || !strings.Contains(err.Error(), "give a longer --timeout") || s.asked > 0 {
		t.Errorf("asked %d times: %v", s.asked, err)
	}
}
