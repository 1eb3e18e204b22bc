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
	// maxBodyBytes is how long an AdmissionReview may be. It contains one pod, and
	// kube-apiserver accepts requests of up to 3 MiB.
	maxBodyBytes = 3 << 20
	// bodyTimeout limits the wait for the body. kube-apiserver sends it at once.
	bodyTimeout = 3 * time.Second
)

// badReview is the error for a request that is not an AdmissionReview, or one that
// cannot be answered.
type badReview struct {
	status   int // HTTP status
	sentence string
}

func (e *badReview) Error() string { return e.sentence }

func newBadReview(status int, format string, args ...any) *badReview {
	return &badReview{status, fmt.Sprintf(format, args...)}
}

// readReview reads the request of an AdmissionReview. The result always has a UID.
func readReview(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionRequest, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, newBadReview(http.StatusMethodNotAllowed, "method %s: an AdmissionReview comes by POST", r.Method)
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return nil, newBadReview(http.StatusUnsupportedMediaType, "Content-Type %q: an AdmissionReview comes as application/json", r.Header.Get("Content-Type"))
	}
	body, err := readBody(w, r)
	if err != nil {
		return nil, err
	}
	return decodeReview(body)
}

// errTooMuchAtOnce is the error of reading a body beyond maxReceivingBytes.
var errTooMuchAtOnce = errors.New("too many bytes of requests at once")

// countedBody is a request's body that counts its bytes among those of all requests.
type countedBody struct {
	io.ReadCloser
	all  *semaphore.Weighted
	held int64 // counted in all
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

// release returns the counted bytes, when the request is not held any more.
func (b *countedBody) release() { b.all.Release(b.held) }

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	tooLong := newBadReview(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes, which no pod is", maxBodyBytes)
	if r.ContentLength > maxBodyBytes {
		return nil, tooLong
	}
	// A recorder in a test has no connection, and so no deadline.
	connection := http.NewResponseController(w)
	_ = connection.SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooMany *http.MaxBytesError
	switch {
	case errors.As(err, &tooMany):
		return nil, tooLong
	case errors.Is(err, errTooMuchAtOnce):
		return nil, newBadReview(http.StatusServiceUnavailable, "the webhook is sent more at once than it can hold: try again")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, newBadReview(http.StatusRequestTimeout, "the body did not come within %v", bodyTimeout)
	case err != nil:
		return nil, newBadReview(http.StatusBadRequest, "the body broke off: %v", err)
	case len(body) == 0:
		return nil, newBadReview(http.StatusBadRequest, "the body is empty: send an AdmissionReview")
	}
	// The server watches the connection while the request is answered. It would mistake
	// the deadline for the client's end.
	_ = connection.SetReadDeadline(time.Time{})
	return body, nil
}

func decodeReview(body []byte) (*admissionv1.AdmissionRequest, error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, newBadReview(http.StatusBadRequest, "the body is no AdmissionReview: %v", err)
	}
	if want := admissionv1.SchemeGroupVersion.String(); review.APIVersion != want || review.Kind != "AdmissionReview" {
		return nil, newBadReview(http.StatusBadRequest, "the body is kind %q of apiVersion %q: send an AdmissionReview of %s", review.Kind, review.APIVersion, want)
	}
	switch {
	case review.Request == nil:
		return nil, newBadReview(http.StatusBadRequest, "the AdmissionReview has no request")
	case review.Request.UID == "":
		return nil, newBadReview(http.StatusBadRequest, "the AdmissionReview's request has no uid, so it cannot be answered")
	}
	return review.Request, nil
}

// passReason returns why a request is not about the creation of a pod and may pass.
func passReason(request *admissionv1.AdmissionRequest) (sentence string, ok bool) {
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
