// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubejson "k8s.io/apimachinery/pkg/util/json"
)

// A request that is not an AdmissionReview gets an HTTP status and a sentence. No
// source is read.
func TestBadReviews(t *testing.T) {
	good := string(review(t, creation(t, labelled())))
	for _, tt := range []struct {
		name, method, contentType, body string
		status                          int
		says                            string
	}{
		{"GET", http.MethodGet, "application/json", "", 405, "comes by POST"},
		{"no content type", "", "", good, 415, `Content-Type ""`},
		{"wrong content type", "", "application/vnd.kubernetes.protobuf", good, 415, "comes as application/json"},
		{"odd content type", "", "application/json; =", good, 415, "comes as application/json"},
		{"empty", "", "application/json", "", 400, "the body is empty"},
		{"too long", "", "application/json", strings.Repeat(" ", maxBodyBytes) + good, 413, "longer than 3145728 bytes"},
		{"no JSON", "", "application/json", "pod: {}", 400, "is no AdmissionReview"},
		{"JSON twice", "", "application/json", good + good, 400, "is no AdmissionReview"},
		{"cut off", "", "application/json", good[:len(good)/2], 400, "is no AdmissionReview"},
		{"a list", "", "application/json", "[]", 400, "is no AdmissionReview"},
		{"null", "", "application/json", "null", 400, `kind "" of apiVersion ""`},
		{"a number", "", "application/json", "3", 400, "is no AdmissionReview"},
		{"deep", "", "application/json", strings.Repeat("[", 100_000), 400, "is no AdmissionReview"},
		{"v1beta1", "", "application/json", strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400, "send an AdmissionReview of admission.k8s.io/v1"},
		{"no version", "", "application/json", strings.Replace(good, "admission.k8s.io/v1", "", 1), 400, `apiVersion ""`},
		{"another kind", "", "application/json", strings.Replace(good, `"AdmissionReview"`, `"ConversionReview"`, 1), 400, `kind "ConversionReview"`},
		{"a pod", "", "application/json", `{"apiVersion":"v1","kind":"Pod"}`, 400, `kind "Pod"`},
		{"other case", "", "application/json", strings.Replace(good, `"kind":"AdmissionReview"`, `"Kind":"AdmissionReview"`, 1), 400, `kind ""`},
		{"no request", "", "application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400, "has no request"},
		{"an answer", "", "application/json", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"1","allowed":true}}`, 400, "has no request"},
		{"no uid", "", "application/json", strings.Replace(good, `"uid":"0123"`, `"uid":""`, 1), 400, "has no uid"},
		{"uid is a number", "", "application/json", strings.Replace(good, `"uid":"0123"`, `"uid":123`, 1), 400, "is no AdmissionReview"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestHandler(t, &fakeSources{t: t}, config(t, operatorsFile))
			method := tt.method
			if method == "" {
				method = http.MethodPost
			}
			request := httptest.NewRequest(method, Path, strings.NewReader(tt.body))
			request.Header.Set("Content-Type", tt.contentType)
			recorder := httptest.NewRecorder()
			r.handler.ServeHTTP(recorder, request)
			if body := recorder.Body.String(); recorder.Code != tt.status || !strings.Contains(body, tt.says) || strings.Count(body, "\n") != 1 {
				t.Errorf("status %d: %q, want %d and one line with %q", recorder.Code, body, tt.status, tt.says)
			}
			if got := r.count("refuse", "bad_request"); got != 1 {
				t.Errorf("counted %v times", got)
			}
			if lines := r.log.Lines(t, "refused what is no AdmissionReview"); len(lines) != 1 {
				t.Errorf("the log should say so once:\n%s", r.log)
			}
		})
	}
}

// brokenBody ends too early.
type brokenBody struct{ io.Reader }

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// A body of unknown length is read only up to the maximum.
func TestBodiesOfUnknownLength(t *testing.T) {
	for _, tt := range []struct {
		name   string
		body   io.Reader
		status int
	}{
		{"endless", io.LimitReader(spaces{}, 1<<40), http.StatusRequestEntityTooLarge},
		{"broken off", brokenBody{strings.NewReader(`{"kind":`)}, http.StatusBadRequest},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestHandler(t, &fakeSources{t: t}, config(t, operatorsFile))
			request := httptest.NewRequest(http.MethodPost, Path, tt.body)
			request.ContentLength = -1
			request.Header.Set("Content-Type", "application/json")
			recorder := httptest.NewRecorder()
			r.handler.ServeHTTP(recorder, request)
			if recorder.Code != tt.status {
				t.Errorf("status %d, want %d: %s", recorder.Code, tt.status, recorder.Body)
			}
		})
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	copy(p, bytes.Repeat([]byte(" "), len(p)))
	return len(p), nil
}

// An AdmissionReview for anything except the creation of a pod gets a proper response.
func TestReviewsOfSomethingElse(t *testing.T) {
	pod := creation(t, labelled())
	for _, tt := range []struct {
		name    string
		change  func(*admissionv1.AdmissionRequest)
		allowed bool
		says    string
	}{
		{"a Deployment", func(r *admissionv1.AdmissionRequest) {
			r.Kind = metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
		}, false, `kind "Deployment" of "apps/v1"`},
		{"a pod of another group", func(r *admissionv1.AdmissionRequest) { r.Kind.Group = "example.org" }, false, `"example.org/v1"`},
		{"a Deployment, updated", func(r *admissionv1.AdmissionRequest) { r.Kind.Kind, r.Operation = "Deployment", admissionv1.Update }, false, "only pods"},
		{"no kind", func(r *admissionv1.AdmissionRequest) { r.Kind = metav1.GroupVersionKind{} }, false, "only pods"},
		{"no object", func(r *admissionv1.AdmissionRequest) { r.Object = runtime.RawExtension{} }, false, "has no object"},
		{"a null", func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte("null") }, false, "has no object"},
		{"a text", func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`"pod"`) }, false, "is no pod"},
		{"an object of another kind", func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`{"apiVersion":"v1","kind":"Secret"}`) }, false, `kind "Secret"`},
		{"an object without a kind", func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`{}`) }, false, `kind ""`},
		{"a wrong type in the pod", func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte(`{"apiVersion":"v1","kind":"Pod","spec":{"containers":{}}}`)
		}, false, "is no pod"},
		{"a pod without a spec", func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"shoot-proxy.io/inject":"true"}}}`)
		}, false, "has no containers"},
		{"updated", func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }, true, "this is UPDATE"},
		{"deleted", func(r *admissionv1.AdmissionRequest) { r.Operation, r.Object.Raw = admissionv1.Delete, nil }, true, "this is DELETE"},
		{"an ephemeral container", func(r *admissionv1.AdmissionRequest) { r.SubResource = "ephemeralcontainers" }, true, "pods/ephemeralcontainers"},
		{"a binding", func(r *admissionv1.AdmissionRequest) { r.Kind.Kind, r.SubResource = "Binding", "binding" }, true, "pods/binding"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newTestHandler(t, &fakeSources{t: t}, config(t, operatorsFile))
			request := pod.DeepCopy()
			tt.change(request)
			got := r.admit(request)
			if got.Allowed != tt.allowed || !strings.Contains(got.Result.Message, tt.says) || got.Patch != nil {
				t.Errorf("allowed %t, want %t; want %q in %q; patch %s", got.Allowed, tt.allowed, tt.says, got.Result.Message, got.Patch)
			}
			if !tt.allowed && got.Result.Code != http.StatusBadRequest {
				t.Errorf("code %d, want 400", got.Result.Code)
			}
			if want := map[bool]string{true: "skip", false: "refuse"}[tt.allowed]; r.count(want, "bad_request") != 1 {
				t.Errorf("not counted as %s", want)
			}
		})
	}
}

// eachFieldOnce reports whether a pod has no duplicate fields, so that all parsers
// agree on it. Pods from kube-apiserver have none.
func eachFieldOnce(t *testing.T, raw []byte) bool {
	t.Helper()
	var object any
	read, reread := &corev1.Pod{}, &corev1.Pod{}
	if err := errors.Join(kubejson.Unmarshal(raw, &object), kubejson.Unmarshal(raw, read)); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return kubejson.Unmarshal(plain, reread) == nil && cmp.Equal(read, reread)
}

// Every request gets an answer: an HTTP status with a sentence, or a response that
// allows, or one that says why not.
func FuzzAdmissionReview(f *testing.F) {
	f.Add(review(f, creation(f, labelled())))
	f.Add(review(f, creation(f, prometheusPod(f))))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{"version":"v1","kind":"Pod"},"operation":"CREATE","object":{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"shoot-proxy.io/inject":"true"},"annotations":{"shoot-proxy.io/status":"{}"}}}}}`))
	f.Add([]byte(`null`))
	defaults := config(f, operatorsFile)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := newTestHandler(t, plainSources(t), defaults)
		recorder := r.post(body)
		if recorder.Code != http.StatusOK {
			if recorder.Code < 400 || recorder.Code > 499 || recorder.Body.Len() == 0 {
				t.Fatalf("status %d: %q", recorder.Code, recorder.Body)
			}
			return
		}
		var request admissionv1.AdmissionReview
		if err := kubejson.Unmarshal(body, &request); err != nil {
			t.Fatalf("answered what is no JSON: %v", err)
		}
		got := response(t, recorder.Body.Bytes(), request.Request.UID)
		if got.Allowed != (got.Result.Status == metav1.StatusSuccess) || !got.Allowed && (got.Result.Message == "" || got.Patch != nil) {
			t.Fatalf("half an answer: %s", recorder.Body)
		}
		if got.Patch != nil && eachFieldOnce(t, request.Request.Object.Raw) {
			patched(t, request.Request, got)
		}
	})
}

// TestBodiesAreBoundedTogether: concurrent slow requests hold no more memory than the
// limit. One beyond it is told to try again. When the others have ended, it is
// accepted.
func TestBodiesAreBoundedTogether(t *testing.T) {
	r := newTestHandler(t, plainSources(t), nil)
	post := func(body io.Reader) *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodPost, Path, body)
		request.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		r.handler.ServeHTTP(answer, request)
		return answer
	}
	const large = maxBodyBytes - 1000
	var slow sync.WaitGroup
	var ends []*io.PipeWriter
	for range maxReceivingBytes / large {
		body, end := io.Pipe()
		ends = append(ends, end)
		slow.Go(func() { post(body) })
		// The bytes are counted after the read that takes them. So the handler has
		// counted the first piece when it reads the second one, of one byte.
		for _, size := range []int{large - 1, 1} {
			if _, err := end.Write(bytes.Repeat([]byte(" "), size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	answer := post(bytes.NewReader(bytes.Repeat([]byte(" "), large)))
	if answer.Code != http.StatusServiceUnavailable || !strings.Contains(answer.Body.String(), "try again") {
		t.Errorf("one too many was answered with %d %s", answer.Code, answer.Body)
	}
	for _, end := range ends {
		_ = end.Close()
	}
	slow.Wait()
	if answer := post(bytes.NewReader(bytes.Repeat([]byte(" "), large))); answer.Code != http.StatusBadRequest {
		t.Errorf("with all gone, white space was answered with %d %s, want %d", answer.Code, answer.Body, http.StatusBadRequest)
	}
}
