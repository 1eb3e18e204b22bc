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
	"github.com/shoot-proxy/proxy-client/webhook/internal/podpatch"
)

const (
	// answerTimeout is how long a decision may take. kube-apiserver waits for 5 s. With
	// less than that, its client gets our sentence.
	answerTimeout = 3500 * time.Millisecond
	// maxReceivingBytes is how many bytes of requests are held at once, including those
	// of incomplete requests.
	maxReceivingBytes = 8 * maxBodyBytes
	// maxDecidingBytes is how many bytes of reviews are decided at once. A review needs
	// ten times its size while it is compared with the result.
	maxDecidingBytes = 2 * maxBodyBytes
)

// Sources provide what a decision depends on, in addition to the pod. Errors are
// logged. The API server's client learns only that the source could not be read.
type Sources interface {
	// Namespace returns what is known about the pod's namespace.
	Namespace(ctx context.Context, name string) (webhook.Namespace, error)
	// ConfigMap returns the configuration in a ConfigMap, or nil if there is none. An
	// UnusableError of package source is shown to the API server's client too.
	ConfigMap(ctx context.Context, namespace, name string) (*webhook.Config, error)
	// Networking returns what Gardener knows about the namespace's shoot, or nil if the
	// namespace belongs to no shoot.
	Networking(ctx context.Context, namespace string) (*webhook.Networking, error)
	// OldestNode returns the minor version of the oldest kubelet among the nodes on
	// which the pod may run. It returns 0 if that is not known.
	OldestNode(pod *corev1.Pod) int
}

// HandlerConfig configures a handler. All fields are required.
type HandlerConfig struct {
	Sources  Sources
	Defaults func() *webhook.Config // the operator's current defaults
	Images   webhook.Images
	Version  string
	Metrics  *Metrics
	Logger   *slog.Logger
	// Draining reports whether connections should close after their next answer.
	Draining func() bool
}

type handler struct {
	HandlerConfig
	receiving *semaphore.Weighted
	deciding  *semaphore.Weighted
}

// NewHandler returns a handler that answers AdmissionReviews.
func NewHandler(cfg HandlerConfig) http.Handler {
	return &handler{HandlerConfig: cfg, receiving: semaphore.NewWeighted(maxReceivingBytes), deciding: semaphore.NewWeighted(maxDecidingBytes)}
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if h.Draining() {
		w.Header().Set("Connection", "close")
	}
	body := &countedBody{ReadCloser: r.Body, all: h.receiving}
	defer body.release()
	r.Body = body
	request, err := readReview(w, r)
	if err != nil {
		h.reject(w, r, start, err)
		return
	}
	// The decision is completed, counted and logged, even if kube-apiserver has closed
	// the connection meanwhile.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), start.Add(answerTimeout))
	defer cancel()
	result, patch := h.admit(ctx, request)
	h.count(start, result)
	h.logDecision(ctx, request, result, time.Since(start))
	answer(w, request, result, patch)
}

// reject answers a request that is not an AdmissionReview. kube-apiserver shows its
// client the answer, if that is text.
func (h *handler) reject(w http.ResponseWriter, r *http.Request, start time.Time, err error) {
	status := http.StatusBadRequest
	if review, ok := errors.AsType[*badReview](err); ok {
		status = review.status
	}
	h.count(start, webhook.Refused(webhook.ReasonBadRequest, ""))
	h.Logger.WarnContext(r.Context(), "refused what is no AdmissionReview", "remote", r.RemoteAddr, "status", status, "message", err.Error())
	if status == http.StatusRequestEntityTooLarge || status == http.StatusRequestTimeout {
		w.Header().Set("Connection", "close") // the rest of the request is not read
	}
	http.Error(w, err.Error(), status)
}

// admit decides, and returns the patch if there is one.
func (h *handler) admit(ctx context.Context, request *admissionv1.AdmissionRequest) (webhook.Result, []byte) {
	size := min(int64(len(request.Object.Raw)), maxDecidingBytes)
	if err := h.deciding.Acquire(ctx, size); err != nil {
		return unavailable("the webhook has more to do than it can: try again", err), nil
	}
	defer h.deciding.Release(size)
	if sentence, ok := passReason(request); ok {
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
	patch, err := podpatch.Between(pod, result.Pod)
	if err != nil {
		return unavailable("the webhook cannot say how to change the pod: see its log", err), nil
	}
	return result, patch
}

// logDecision logs one line for a decision.
func (h *handler) logDecision(ctx context.Context, request *admissionv1.AdmissionRequest, result webhook.Result, took time.Duration) {
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

// nameOf returns the name that the pod will have. A workload's pod gets its name later,
// so its prefix is returned.
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
	// This fails only if the connection is broken, and then there is no client to tell.
	_ = json.NewEncoder(w).Encode(review)
}

// auditAnnotations returns what the audit log gets. kube-apiserver asks again after
// other webhooks have changed the pod. The second answer has only the hash, because
// kube-apiserver does not accept one that differs from the first.
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

// status returns the decision as the API server's client sees it.
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
