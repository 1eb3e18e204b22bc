// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/json"
)

const (
	// maxBody is how long an AdmissionReview may be. A pod comes once, within what
	// kube-apiserver takes as a request (3 MiB).
	maxBody = 3 << 20
	// bodyTimeout bounds the wait for it. kube-apiserver sends it in one go.
	bodyTimeout = 3 * time.Second
)

// badReview is what came and is no AdmissionReview that one could answer.
type badReview struct {
	status   int // of HTTP
	sentence string
}

func (e *badReview) Error() string { return e.sentence }

func bad(status int, format string, args ...any) *badReview {
	return &badReview{status, fmt.Sprintf(format, args...)}
}

// readReview reads the request of an AdmissionReview: whatever it returns has a UID.
func readReview(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionRequest, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, bad(http.StatusMethodNotAllowed, "method %s: an AdmissionReview comes by POST", r.Method)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, bad(http.StatusUnsupportedMediaType, "Content-Type %q: an AdmissionReview comes as application/json", r.Header.Get("Content-Type"))
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return decodeReview(body)
}

// errTooMuchAtOnce is what reading a body fails with for which there is no room.
var errTooMuchAtOnce = errors.New("too many bytes of requests at once")

// countedBody is a request's body that counts the bytes of all requests.
type countedBody struct {
	io.ReadCloser
	all  *semaphore.Weighted
	held int64 // of all
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.all.TryAcquire(int64(n)) {
		return 0, errTooMuchAtOnce
	}
	b.held += int64(n)
	return n, err
}

// release gives back what was counted, when the request is not held any more.
func (b *countedBody) release() { b.all.Release(b.held) }

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLong := bad(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes, which no pod is", maxBody)
	if r.ContentLength > maxBody {
		return nil, tooLong
	}
	// A recorder in a test has no connection, and so no deadline.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &tooMany):
		return nil, tooLong
	case errors.Is(err, errTooMuchAtOnce):
		return nil, bad(http.StatusServiceUnavailable, "the webhook is sent more at once than it can hold: try again")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, bad(http.StatusRequestTimeout, "the body did not come within %v", bodyTimeout)
	case err != nil:
		return nil, bad(http.StatusBadRequest, "the body broke off: %v", err)
	case len(body) == 0:
		return nil, bad(http.StatusBadRequest, "the body is empty: send an AdmissionReview")
	}
	// The server watches the connection while the request is answered, and would
	// take the deadline for the client's end.
	_ = connection.SetReadDeadline(time.Time{})
	return body, nil
}

func decodeReview(body []byte) (*admissionv1.AdmissionRequest, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, bad(http.StatusBadRequest, "the body is no AdmissionReview: %v", err)
	}
	if want := admissionv1.SchemeGroupVersion.String(); review.APIVersion != want || review.Kind != "AdmissionReview" {
		return nil, bad(http.StatusBadRequest, "the body is kind %q of apiVersion %q: send an AdmissionReview of %s", review.Kind, review.APIVersion, want)
	}
	switch {
	case review.Request == nil:
		return nil, bad(http.StatusBadRequest, "the AdmissionReview has no request")
	case review.Request.UID == "":
		return nil, bad(http.StatusBadRequest, "the AdmissionReview's request has no uid, so it cannot be answered")
	}
	return review.Request, nil
}

// untouched says why a request is none of ours, and may pass.
func untouched(request *admissionv1.AdmissionRequest) (sentence string, ok bool) {
	switch {
	case request.SubResource != "" || request.RequestSubResource != "":
		return fmt.Sprintf("only pods are injected, and this is %s/%s", request.Resource.Resource, request.SubResource), true
	case isPod(request) && request.Operation != admissionv1.Create:
		return fmt.Sprintf("pods are injected when they are created, and this is %s", request.Operation), true
	default:
		return "", false
	}
}

func isPod(request *admissionv1.AdmissionRequest) bool {
	return request.Kind == metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
}

// decodePod returns the pod that is to be created, or a sentence.
func decodePod(request *admissionv1.AdmissionRequest) (*corev1.Pod, string) {
	if !isPod(request) {
		kind := request.Kind
		return nil, fmt.Sprintf("only pods of v1 are injected, and this is kind %q of %q: let the webhook's rules name pods alone",
			kind.Kind, metav1.GroupVersion{Group: kind.Group, Version: kind.Version}.String())
	}
	if len(request.Object.Raw) == 0 || string(request.Object.Raw) == "null" {
		return nil, "the AdmissionReview has no object"
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(request.Object.Raw, pod); err != nil {
		return nil, fmt.Sprintf("the AdmissionReview's object is no pod: %v", err)
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, fmt.Sprintf("the AdmissionReview's object is kind %q of apiVersion %q, and should be a Pod of v1", pod.Kind, pod.APIVersion)
	}
	return pod, ""
}
