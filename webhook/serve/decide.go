// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// unavailable refuses a pod because of a failure on the webhook's side.
func unavailable(sentence string, err error) webhook.Result {
	result := webhook.Refused(webhook.ReasonUnavailable, sentence)
	result.Detail = fmt.Sprintf("%s: %v", sentence, err)
	return result
}

// decide reads the sources that a pod needs, and calls package webhook. The namespace
// is the request's, because the object of a workload's pod may not have one yet.
func (h *handler) decide(ctx context.Context, namespace string, pod *corev1.Pod) webhook.Result {
	request := webhook.Request{Pod: pod, Admission: true, Images: h.Images, Version: h.Version, Defaults: h.Defaults()}
	if !webhook.Wanted(pod) {
		return webhook.Mutate(request)
	}
	if len(pod.Spec.Containers) == 0 {
		// kube-apiserver checks this only later, and the patch may not apply.
		return webhook.Refused(webhook.ReasonBadRequest, "the pod has no containers: it needs one")
	}
	var refusal *webhook.Result
	if request.ConfigMap, refusal = h.configMap(ctx, namespace, pod, request.Defaults); refusal != nil {
		return *refusal
	}
	if request.Disabled() {
		return webhook.Mutate(request) // the other sources are not needed
	}
	var err error
	if request.Namespace, err = h.Sources.Namespace(ctx, namespace); err != nil {
		return unavailable(fmt.Sprintf("namespace %q could not be read: try again, and see the webhook's log if it stays so", namespace), err)
	}
	if request.Defaults.Gardener() {
		if request.Networking, err = h.Sources.Networking(ctx, namespace); err != nil {
			return notRead(fmt.Sprintf("Gardener's Cluster %q", namespace), err)
		}
	}
	request.OldestNode = h.Sources.OldestNode(pod)
	return webhook.Mutate(request)
}

// configMap returns the configuration of the pod's namespace. It is nil if there is
// none and none is required.
func (h *handler) configMap(ctx context.Context, namespace string, pod *corev1.Pod, defaults *webhook.Config) (*webhook.Config, *webhook.Result) {
	name, required, refusal := webhook.ConfigMapFor(pod, defaults)
	if refusal != nil || name == "" {
		return nil, refusal
	}
	config, err := h.Sources.ConfigMap(ctx, namespace, name)
	if err != nil {
		result := notRead(fmt.Sprintf("ConfigMap %q of namespace %q", name, namespace), err)
		return nil, &result
	}
	if config == nil && required {
		result := webhook.Refused(webhook.ReasonConfigMissing, fmt.Sprintf("annotation %sconfig %q: there is no such ConfigMap in namespace %q: create it, or name another", webhook.AnnotationPrefix, name, namespace))
		return nil, &result
	}
	return config, nil
}

// notRead refuses a pod because of a source that cannot be used, or could not be read.
func notRead(what string, err error) webhook.Result {
	if unusable, ok := errors.AsType[*source.UnusableError](err); ok {
		result := webhook.Refused(webhook.ReasonBadConfig, unusable.Sentence)
		result.Detail = unusable.Detail
		return result
	}
	return unavailable(what+" could not be read: try again, and see the webhook's log if it stays so", err)
}
