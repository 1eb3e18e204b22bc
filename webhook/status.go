// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// status is the content of the status annotation: the version, what was injected, and
// what to remove.
type status struct {
	Version        string   `json:"version"`
	Hash           string   `json:"hash"`
	InitContainers []string `json:"initContainers,omitempty"`
	Containers     []string `json:"containers,omitempty"`
	Volumes        []string `json:"volumes,omitempty"`
	Annotations    []string `json:"annotations,omitempty"`
	Labels         []string `json:"labels,omitempty"`

	ImagePullSecrets []string `json:"imagePullSecrets,omitempty"`
	// Replaced is used only in manifests: see [Replaced].
	Replaced map[string]string `json:"replaced,omitempty"`
}

func (s status) text() string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("names do not become JSON: %v", err))
	}
	return string(text)
}

// statusOf returns the status of an injected pod, or nil for another pod.
func statusOf(pod *corev1.Pod) (*status, error) {
	text, ok := pod.Annotations[AnnotationStatus]
	if !ok {
		return nil, nil
	}
	s := &status{}
	if err := json.Unmarshal([]byte(text), s); err != nil || s.Hash == "" {
		return nil, fmt.Errorf("annotation %s is not what the webhook writes there: remove it, and with it what was injected by hand", AnnotationStatus)
	}
	ours := append([]string{initRedirect, proxyClient, defaultContainer, annotationRenewed}, ourVolumes...)
	for _, name := range slices.Concat(s.InitContainers, s.Containers, s.Volumes, s.Annotations) {
		if !slices.Contains(ours, name) {
			return nil, fmt.Errorf("annotation %s claims %q, which the webhook never adds: remove the annotation", AnnotationStatus, name)
		}
	}
	for _, name := range s.Labels {
		if strings.HasPrefix(name, AnnotationPrefix) {
			return nil, fmt.Errorf("annotation %s claims label %q, which the webhook never adds: remove the annotation", AnnotationStatus, name)
		}
	}
	return s, nil
}

// Injected returns the version of the webhook that injected a pod, and the hash of what
// it injected. Both are empty for a pod without a status. The error says what is wrong
// with the status.
func Injected(pod *corev1.Pod) (version, hash string, err error) {
	s, err := statusOf(pod)
	if s == nil || err != nil {
		return "", "", err
	}
	return s.Version, s.Hash, nil
}

// Replaced returns the texts that an injection into a manifest has replaced, such as an
// empty list. Its keys are JSON pointers (RFC 6901) from the object that has the pod.
// Uninjecting writes the texts back.
func Replaced(pod *corev1.Pod) map[string]string {
	s, err := statusOf(pod)
	if s == nil || err != nil {
		return nil
	}
	return s.Replaced
}

// WithReplaced returns a copy of an injected pod whose status has these texts. It
// returns a pod without a status unchanged.
func WithReplaced(pod *corev1.Pod, texts map[string]string) *corev1.Pod {
	s, err := statusOf(pod)
	if s == nil || err != nil {
		return pod
	}
	s.Replaced = texts
	pod = pod.DeepCopy()
	annotate(pod, AnnotationStatus, s.text())
	return pod
}

// Remove returns a copy of an injected pod without what was injected. removed is false
// if the pod has no valid status.
func Remove(pod *corev1.Pod) (result *corev1.Pod, removed bool) {
	s, err := statusOf(pod)
	if s == nil || err != nil {
		return pod.DeepCopy(), false
	}
	return s.removedFrom(pod), true
}

// removedFrom returns a copy of a pod without what the status lists.
func (s *status) removedFrom(pod *corev1.Pod) *corev1.Pod {
	pod = pod.DeepCopy()
	spec := &pod.Spec
	spec.InitContainers = withoutNames(spec.InitContainers, s.InitContainers, func(c corev1.Container) string { return c.Name })
	spec.Containers = withoutNames(spec.Containers, s.Containers, func(c corev1.Container) string { return c.Name })
	spec.Volumes = withoutNames(spec.Volumes, s.Volumes, func(v corev1.Volume) string { return v.Name })
	spec.ImagePullSecrets = withoutNames(spec.ImagePullSecrets, s.ImagePullSecrets, func(r corev1.LocalObjectReference) string { return r.Name })
	for _, name := range s.Labels {
		delete(pod.Labels, name)
	}
	for _, name := range append(s.Annotations, AnnotationStatus, appArmorPrefix+initRedirect, appArmorPrefix+proxyClient) {
		delete(pod.Annotations, name)
	}
	if len(pod.Annotations) == 0 {
		pod.Annotations = nil
	}
	return pod
}

// withoutNames removes the first element with each of the names, because a second one
// is not ours. It returns nil if nothing is left.
func withoutNames[T any](list []T, names []string, name func(T) string) []T {
	for _, ours := range names {
		if i := slices.IndexFunc(list, func(e T) bool { return name(e) == ours }); i >= 0 {
			list = slices.Delete(list, i, i+1)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list
}
