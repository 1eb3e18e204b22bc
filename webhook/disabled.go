// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/spelling"
	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// The values of field inject. Without a value it is enabled.
const (
	injectEnabled  = "enabled"
	injectDisabled = "disabled"
)

// WarningDisabled begins the warning about a labelled pod that the configuration leaves
// alone. Package dryrun recognises such a pod by it.
const WarningDisabled = "not injected: "

// checkInject refuses other values of field inject.
func (c *Config) checkInject() string {
	switch c.file.Inject {
	case "", injectEnabled, injectDisabled:
		return ""
	default:
		known := []string{injectEnabled, injectDisabled}
		return fmt.Sprintf("%s %q is not known: %s", configfile.Inject, c.file.Inject, spelling.Question(c.file.Inject, known, "write enabled or disabled"))
	}
}

// Disabled reports whether the configuration leaves labelled pods alone. The namespace's
// ConfigMap overrides the operator's file. No annotation of the pod says it: the pod's label
// does the same.
func (r *Request) Disabled() bool { return r.disabledBy() != nil }

// disabledBy returns the source that leaves labelled pods alone, or nil.
func (r *Request) disabledBy() *Config {
	for _, c := range []*Config{r.ConfigMap, r.Defaults} {
		if c == nil || c.file.Inject == "" {
			continue
		}
		if c.file.Inject == injectDisabled {
			return c
		}
		return nil
	}
	return nil
}

// leftAlone skips a labelled pod because the configuration says so. The pod's author
// gets a warning: without the redirect, the pod's routes decide about the shoot's traffic.
// A pod that was injected before keeps its redirect, for example one of a template that
// was written by `webhook inject`.
func (r *Request) leftAlone() Result {
	by := r.disabledBy().source
	if hasBoth(r.Pod) {
		result := skip(ReasonConfigDisabled, fmt.Sprintf("%s says inject: disabled, but the pod was injected before, and stays so: `webhook uninject` removes that from its template", by))
		result.Warnings = []string{warning("injected before, and %s says inject: disabled; `webhook uninject` its template", by)}
		return result
	}
	result := skip(ReasonConfigDisabled, fmt.Sprintf("%s says inject: disabled, so labelled pods stay as they are", by))
	result.Warnings = []string{warning("%s%s says inject: disabled; the shoot's traffic takes the pod's own routes", WarningDisabled, by)}
	return result
}

// hasBoth reports whether a pod has the two containers of an injection, and its status.
func hasBoth(pod *corev1.Pod) bool {
	if pod.Annotations[AnnotationStatus] == "" {
		return false
	}
	has := func(name string) bool {
		return slices.ContainsFunc(slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers), func(c corev1.Container) bool { return c.Name == name })
	}
	return has(initRedirect) && has(proxyClient)
}
