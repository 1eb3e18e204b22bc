// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/webhook"
)

const (
	// answerTimeout is how long a decision may take, of the 5 s after which
	// kube-apiserver waits no longer: so that what it gets is a sentence.
	answerTimeout = 3500 * time.Millisecond
	// maxArriving is how many bytes of requests are held at a time, of which not all
	// need be here.
	maxArriving = 8 * maxBody
	// maxAtWork is how many bytes of reviews are worked on at a time. Each is ten
	// times as large while it is compared with what becomes of it.
	maxAtWork = 2 * maxBody
)

// Sources are what a decision depends on besides the pod. An error is for the log;
// the API server's client hears only that the source could not be read.
type Sources interface {
	// Namespace returns what is to be known of the pod's.
	Namespace(ctx context.Context, name string) (webhook.Namespace, error)
	// ConfigMap returns what one holds, nil where there is none. An
	// [*UnusableError] is for the API server's client too.
	ConfigMap(ctx context.Context, namespace, name string) (*webhook.Config, error)
	// Networking returns what Gardener knows of the namespace's shoot, nil where the
	// namespace is no shoot's.
	Networking(ctx context.Context, namespace string) (*webhook.Networking, error)
	// OldestNode returns the minor version of the oldest kubelet among the nodes
	// on which the pod may run, 0 where that is not known.
	OldestNode(pod *corev1.Pod) int
}

// HandlerConfig is what a handler decides with. All of it is required.
type HandlerConfig struct {
	Sources  Sources
	Defaults func() *webhook.Config // the operator's, as they are now
	Images   webhook.Images
	Version  string
	Metrics  *Metrics
	Logger   *slog.Logger
	// Draining reports whether connections should end with their next answer.
	Draining func() bool
}

type handler struct {
	HandlerConfig
	arriving *semaphore.Weighted
	atWork   *semaphore.Weighted
}

// NewHandler returns what answers AdmissionReviews.
func NewHandler(cfg HandlerConfig) http.Handler {
	return &handler{HandlerConfig: cfg, arriving: semaphore.NewWeighted(maxArriving), atWork: semaphore.NewWeighted(maxAtWork)}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if h.Draining() {
		w.Header().Set("Connection", "close")
	}
	body := &countedBody{ReadCloser: r.Body, all: h.arriving}
	defer body.release()
	r.Body = body
	request, err := readReview(w, r)
	if err != nil {
		h.reject(w, r, start, err)
		return
	}
	// The decision is counted and logged as it was made, also where kube-apiserver
	// has gone away meanwhile.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), start.Add(answerTimeout))
	defer cancel()
	result, patch := h.admit(ctx, request)
	h.count(start, result)
	h.say(ctx, request, result, time.Since(start))
	answer(w, request, result, patch)
}

// reject answers what is no AdmissionReview. kube-apiserver shows its client what it
// got, if that is text.
func (h *handler) reject(w http.ResponseWriter, r *http.Request, start time.Time, err error) {
	status := http.StatusBadRequest
	if review, ok := errors.AsType[*badReview](err); ok {
		status = review.status
	}
	h.count(start, webhook.Refused(webhook.ReasonBadRequest, ""))
	h.Logger.WarnContext(r.Context(), "refused what is no AdmissionReview", "remote", r.RemoteAddr, "status", status, "message", err.Error())
	if status == http.StatusRequestEntityTooLarge || status == http.StatusRequestTimeout {
		w.Header().Set("Connection", "close") // the rest of it is not worth reading
	}
	http.Error(w, err.Error(), status)
}

// admit decides, and returns the patch where there is one.
func (h *handler) admit(ctx context.Context, request *admissionv1.AdmissionRequest) (webhook.Result, []byte) {
	size := min(int64(len(request.Object.Raw)), maxAtWork)
	if err := h.atWork.Acquire(ctx, size); err != nil {
		return unavailable("the webhook has more to do than it can: try again", err), nil
	}
	defer h.atWork.Release(size)
	if sentence, ok := untouched(request); ok {
		return webhook.Result{Decision: webhook.Skip, Reason: webhook.ReasonBadRequest, Message: sentence}, nil
	}
	pod, problem := decodePod(request)
	if problem != "" {
		return webhook.Refused(webhook.ReasonBadRequest, problem), nil
	}
	result := h.decide(ctx, request.Namespace, pod)
	if result.Decision != webhook.Inject {
		return result, nil
	}
	patch, err := webhook.Patch(pod, result.Pod)
	if err != nil {
		return unavailable("the webhook cannot say how to change the pod: see its log", err), nil
	}
	return result, patch
}

// say writes the one line of a decision.
func (h *handler) say(ctx context.Context, request *admissionv1.AdmissionRequest, result webhook.Result, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case result.Reason == webhook.ReasonNoLabel, result.Reason == webhook.ReasonDisabled, result.Decision == webhook.Skip && result.Reason == webhook.ReasonBadRequest:
		level = slog.LevelDebug
	case result.Decision == webhook.Refuse:
		level = slog.LevelWarn
	}
	if !h.Logger.Enabled(ctx, level) {
		return
	}
	message := result.Message
	if result.Detail != "" {
		message = result.Detail
	}
	attributes := []any{
		"decision", result.Decision.String(), "reason", string(result.Reason),
		"namespace", request.Namespace, "pod", nameOf(request, result.Pod), "uid", string(request.UID),
		"user", request.UserInfo.Username, "dry_run", request.DryRun != nil && *request.DryRun,
		"took_ms", float64(took.Microseconds()) / 1000, "message", message,
	}
	if result.Hash != "" {
		attributes = append(attributes, "hash", result.Hash)
	}
	if len(result.Warnings) > 0 {
		attributes = append(attributes, "warnings", result.Warnings)
	}
	h.Logger.Log(ctx, level, "decided", attributes...)
}

// nameOf is what the pod is to be called. A pod of a workload gets its name later.
func nameOf(request *admissionv1.AdmissionRequest, pod *corev1.Pod) string {
	if request.Name != "" {
		return request.Name
	}
	var object struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if pod != nil {
		object.Metadata = pod.ObjectMeta
	} else if json.Unmarshal(request.Object.Raw, &object) != nil {
		return ""
	}
	if object.Metadata.Name != "" {
		return object.Metadata.Name
	}
	return object.Metadata.GenerateName + "*"
}

// answer writes the AdmissionReview with the response.
func answer(w http.ResponseWriter, request *admissionv1.AdmissionRequest, result webhook.Result, patch []byte) {
	response := &admissionv1.AdmissionResponse{
		UID:              request.UID,
		Allowed:          result.Decision != webhook.Refuse,
		Result:           status(result),
		AuditAnnotations: auditAnnotations(result),
		Warnings:         result.Warnings,
	}
	if len(patch) > 0 {
		response.Patch, response.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	}
	review := admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: response,
	}
	w.Header().Set("Content-Type", "application/json")
	// What fails here is the connection, and nobody is left to be told.
	_ = json.NewEncoder(w).Encode(review)
}

// auditAnnotations are what the audit log gets. Where kube-apiserver asks again, after
// other webhooks have changed the pod, it is the hash alone: kube-apiserver wants no
// second answer that differs from the first.
func auditAnnotations(result webhook.Result) map[string]string {
	all := map[string]string{}
	if result.Hash != "" {
		all["config-hash"] = result.Hash
	}
	if result.Reason != webhook.ReasonAlreadyInjected && result.Reason != webhook.ReasonRestored {
		all["decision"], all["reason"] = result.Decision.String(), string(result.Reason)
	}
	return all
}

// status is how a decision looks to the API server's client.
func status(result webhook.Result) *metav1.Status {
	message := clip.Text(result.Message, clip.Value) // it quotes pods and annotations
	if result.Decision != webhook.Refuse {
		return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusOK, Message: message}
	}
	s := &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}
	switch result.Reason {
	case webhook.ReasonBadRequest:
		s.Code, s.Reason = http.StatusBadRequest, metav1.StatusReasonBadRequest
	case webhook.ReasonUnavailable:
		s.Code, s.Reason = http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable
	}
	return s
}
