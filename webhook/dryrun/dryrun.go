// SPDX-License-Identifier: Apache-2.0

// Package dryrun asks a cluster for a labelled pod, as a dry run, and reports what the
// webhook did to it. The request goes the way of every pod: through the API server, its
// webhook configuration, the Service and the certificate. Nothing is stored.
//
//	sentence, err := dryrun.Run(ctx, dryrun.Config{
//		Cluster: restConfig, Namespace: "monitoring", Image: "registry.example/app:1", Timeout: 30 * time.Second,
//	})
//
// It does not know how a webhook decides: package webhook and the cluster do.
package dryrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// HookName is the webhook's name in the chart's MutatingWebhookConfiguration.
const HookName = "inject.shoot-proxy.io"

// retryInterval is the time between two requests.
const retryInterval = time.Second

// Config describes the pod to ask for.
type Config struct {
	// Cluster is the API server, with the caller's identity. The caller needs the right
	// to create pods.
	Cluster *rest.Config
	// Namespace is the pod's namespace.
	Namespace string
	// Image is the image of the pod's container. It is never pulled.
	Image string
	// AllowRefusal makes a refusal by the webhook a success, and also a pod that the
	// configuration leaves alone. Then the webhook answers, and its configuration may
	// leave the shoot's addresses to the namespaces.
	AllowRefusal bool
	// Timeout limits the wait for a webhook that cannot be reached yet.
	Timeout time.Duration
}

// Outcome is what became of the pod.
type Outcome int

// The outcomes.
const (
	// Injected: the webhook answered, and the pod has both containers.
	Injected Outcome = iota + 1
	// LeftAlone: the webhook answered, and its configuration leaves the pod alone.
	LeftAlone
	// Refused: the webhook answered, and refused the pod.
	Refused
	// NotAsked: the API server made the pod without asking the webhook.
	NotAsked
	// Unreachable: the API server could not ask the webhook, or the webhook could not
	// decide.
	Unreachable
	// Undecided: something else refused the request, so the webhook may work.
	Undecided
	// NoRight: the caller may not create pods there.
	NoRight
)

// Answer is the result of one request.
type Answer struct {
	Outcome Outcome
	// Message is one sentence. If the webhook did not inject the pod, it says why.
	Message string
	// Pod is the pod as the API server would store it. It is nil if it was refused.
	Pod *corev1.Pod
}

// Ask asks once.
func Ask(ctx context.Context, cfg Config) (Answer, error) {
	said := &warnings{next: cfg.Cluster.WarningHandler}
	client, err := cfg.client(said)
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	pod, err := client.Pods(cfg.Namespace).Create(ctx, cfg.pod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	a := cfg.interpret(pod, err, said.take())
	result := Answer{Outcome: a.outcome, Message: a.sentence}
	if a.err != nil {
		result.Message = a.err.Error()
	}
	if err == nil {
		result.Pod = pod
	}
	return result, nil
}

// client returns a client that reports the API server's warnings to said.
func (c Config) client(said rest.WarningHandler) (*corev1client.CoreV1Client, error) {
	cluster := rest.CopyConfig(c.Cluster)
	cluster.WarningHandler = said
	// One request a second needs no limit. With a limit, client-go fails shortly before
	// the timeout with its own error.
	cluster.QPS = -1
	client, err := corev1client.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("ask the API server for a pod: %w", err)
	}
	return client, nil
}

// Run asks until the webhook answers, and returns the result as a sentence. The error
// says why there is no answer, or why the pod was refused.
func Run(ctx context.Context, cfg Config) (sentence string, err error) {
	said := &warnings{next: cfg.Cluster.WarningHandler}
	client, err := cfg.client(said)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	last := errors.New("there was no time to ask: give a longer --timeout")
	for {
		pod, err := client.Pods(cfg.Namespace).Create(ctx, cfg.pod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if ctx.Err() != nil && err != nil {
			return "", last // the error of the last request, because this one has timed out
		}
		a := cfg.interpret(pod, err, said.take())
		if !a.retry {
			return a.sentence, a.err
		}
		last = a.err
		select {
		case <-ctx.Done():
			return "", last
		case <-ticker.C:
		}
	}
}

// pod returns a labelled pod that asks for nothing else.
func (c Config) pod() *corev1.Pod {
	no := false
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "webhook-check-", Labels: map[string]string{webhook.Label: "true"}},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: &no,
			Containers:                   []corev1.Container{{Name: "app", Image: c.Image}},
		},
	}
}

// answer is the result for the pod. retry reports whether it may change soon.
type answer struct {
	outcome  Outcome
	sentence string
	err      error
	retry    bool
}

// interpret returns what the API server's answer means. said are its warnings.
func (c Config) interpret(pod *corev1.Pod, err error, said []string) answer {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	where := fmt.Sprintf("a labelled pod in namespace %q", c.Namespace)
	switch {
	case err == nil && pod.Annotations[webhook.AnnotationStatus] != "":
		return answer{outcome: Injected, sentence: where + " is injected: " + pod.Annotations[webhook.AnnotationStatus]}
	case err == nil && disabled(said) != "":
		return c.interpretDisabled(where, disabled(said))
	case err == nil:
		return answer{outcome: NotAsked, err: fmt.Errorf("the API server makes %s without asking the webhook: "+
			"name a namespace that the webhook does not leave out, or look at kubectl get mutatingwebhookconfigurations", where)}
	case !ok:
		return answer{outcome: Undecided, err: fmt.Errorf("the API server does not answer: %w", err), retry: true}
	}
	message := status.ErrStatus.Message
	if refusal, ok := strings.CutPrefix(message, fmt.Sprintf("admission webhook %q denied the request: ", HookName)); ok {
		return c.interpretRefusal(where, refusal, status.ErrStatus.Code)
	}
	switch {
	case strings.Contains(message, fmt.Sprintf("failed calling webhook %q", HookName)):
		return answer{outcome: Unreachable, err: fmt.Errorf("the API server cannot ask the webhook: %s", message), retry: true}
	case apierrors.IsNotFound(err):
		return answer{outcome: Undecided, err: fmt.Errorf("there is no namespace %q: make it, or name another", c.Namespace)}
	case apierrors.IsForbidden(err) && strings.Contains(message, `cannot create resource "pods"`), apierrors.IsUnauthorized(err):
		return answer{outcome: NoRight, err: fmt.Errorf("whoever asks may not make pods in namespace %q: give a --kubeconfig with that right: %s", c.Namespace, message)}
	case status.ErrStatus.Code >= http.StatusInternalServerError, apierrors.IsTooManyRequests(err):
		return answer{outcome: Undecided, err: fmt.Errorf("the API server cannot say what becomes of %s: %s", where, message), retry: true}
	default:
		return answer{outcome: Undecided, err: fmt.Errorf("%s is refused, but not by the webhook: %s", where, message)}
	}
}

// interpretDisabled returns what it means that the webhook leaves labelled pods alone.
// warning is the webhook's.
func (c Config) interpretDisabled(where, warning string) answer {
	if c.AllowRefusal {
		return answer{outcome: LeftAlone, sentence: fmt.Sprintf("the webhook answers; it leaves %s alone: %s", where, warning)}
	}
	return answer{outcome: LeftAlone, err: fmt.Errorf("the webhook leaves %s alone: %s", where, warning)}
}

// interpretRefusal returns what the webhook's refusal means.
func (c Config) interpretRefusal(where, refusal string, code int32) answer {
	switch {
	case code == http.StatusServiceUnavailable:
		return answer{outcome: Unreachable, err: fmt.Errorf("the webhook cannot decide: %s", refusal), retry: true}
	case c.AllowRefusal:
		return answer{outcome: Refused, sentence: fmt.Sprintf("the webhook answers; it refuses %s: %s", where, refusal)}
	default:
		return answer{outcome: Refused, err: fmt.Errorf("the webhook refuses %s: %s", where, refusal)}
	}
}
