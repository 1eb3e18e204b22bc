// SPDX-License-Identifier: Apache-2.0

// Package podquota says whether a ResourceQuota or a LimitRange refuses an injected pod.
//
// It gets them from its caller, and looks only at what the injection adds.
package podquota

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// The containers of an injected pod.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"
)

// Problem is why a pod is refused.
type Problem struct {
	// Maybe is set if it depends on other pods.
	Maybe         bool
	Message, Next string
	Command       string // may be empty
}

// amountsOf maps the names of a quota's resources to a container's amounts.
var amountsOf = map[corev1.ResourceName]struct {
	limit bool
	name  corev1.ResourceName
}{
	corev1.ResourceCPU: {false, corev1.ResourceCPU}, corev1.ResourceRequestsCPU: {false, corev1.ResourceCPU},
	corev1.ResourceMemory: {false, corev1.ResourceMemory}, corev1.ResourceRequestsMemory: {false, corev1.ResourceMemory},
	corev1.ResourceLimitsCPU: {true, corev1.ResourceCPU}, corev1.ResourceLimitsMemory: {true, corev1.ResourceMemory},
}

// amount returns a container's request or limit. A request that is not set is the limit.
func amount(c *corev1.Container, limit bool, name corev1.ResourceName) (resource.Quantity, bool) {
	if !limit {
		if q, ok := c.Resources.Requests[name]; ok {
			return q, true
		}
	}
	q, ok := c.Resources.Limits[name]
	return q, ok
}

// OfQuota returns why a quota refuses a pod because of ours, its
// containers proxy-client and init-redirect. counted is set if the quota counts the pod
// already.
func OfQuota(q corev1.ResourceQuota, p *corev1.Pod, ours []*corev1.Container, ranges []corev1.LimitRange, counted bool) []Problem {
	if !appliesTo(q, p) {
		return nil
	}
	var all []Problem
	for _, name := range sortedNames(q.Spec.Hard) {
		of, known := amountsOf[name]
		if !known {
			continue
		}
		var without []string
		need := resource.Quantity{}
		for _, c := range ours {
			if a, ok := amount(c, of.limit, of.name); ok {
				if c.Name == proxyClient {
					need = a
				}
			} else if !hasDefault(ranges, of.limit, of.name) {
				without = append(without, c.Name)
			}
		}
		if len(without) > 0 {
			kind := "requests"
			if of.limit {
				kind = "limits"
			}
			all = append(all, Problem{
				Message: fmt.Sprintf("It counts %s, so every container needs one, and %s %s none: new pods with the label are refused.", name, strings.Join(without, " and "), havePlural(len(without))),
				Next:    fmt.Sprintf("set sidecar.resources.%[1]s.%[2]s and redirect.resources.%[1]s.%[2]s in the webhook's configuration", kind, of.name),
			})
			continue
		}
		rest := q.Spec.Hard[name].DeepCopy()
		rest.Sub(q.Status.Used[name])
		// A pod that is injected already has its part of what is used.
		if !counted && rest.Cmp(need) < 0 {
			all = append(all, Problem{
				Maybe:   true,
				Message: fmt.Sprintf("%s of %s is left, and proxy-client alone needs %s: the next pod with the label may be refused.", rest.String(), name, need.String()),
				Next:    "raise the quota", Command: fmt.Sprintf("kubectl --namespace %s describe resourcequota %s", q.Namespace, q.Name),
			})
		}
	}
	return all
}

func havePlural(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// appliesTo reports whether a quota counts a pod. Quotas with a selector are not
// followed.
func appliesTo(q corev1.ResourceQuota, p *corev1.Pod) bool {
	if q.Spec.ScopeSelector != nil {
		return false
	}
	terminating := p.Spec.ActiveDeadlineSeconds != nil
	return !slices.ContainsFunc(q.Spec.Scopes, func(scope corev1.ResourceQuotaScope) bool {
		switch scope {
		case corev1.ResourceQuotaScopeTerminating:
			return !terminating
		case corev1.ResourceQuotaScopeNotTerminating:
			return terminating
		case corev1.ResourceQuotaScopeNotBestEffort:
			return false // our containers have requests
		default:
			return true
		}
	})
}

// hasDefault reports whether a LimitRange gives containers an amount that they lack.
func hasDefault(ranges []corev1.LimitRange, limit bool, name corev1.ResourceName) bool {
	for _, r := range ranges {
		for _, item := range r.Spec.Limits {
			defaults := item.DefaultRequest
			if limit {
				defaults = item.Default
			}
			if _, ok := defaults[name]; ok && item.Type == corev1.LimitTypeContainer {
				return true
			}
		}
	}
	return false
}

// OfLimitRange returns why a LimitRange refuses a pod because of our containers.
func OfLimitRange(r corev1.LimitRange, ours []*corev1.Container) []Problem {
	var all []Problem
	for _, item := range r.Spec.Limits {
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for _, c := range ours {
			section := "sidecar.resources"
			if c.Name == initRedirect {
				section = "redirect.resources"
			}
			add := func(said, field string, name corev1.ResourceName) {
				all = append(all, Problem{
					Message: fmt.Sprintf("%s: new pods with the label are refused.", said),
					Next:    fmt.Sprintf("set %s.%s.%s in the webhook's configuration, or change the LimitRange", section, field, name),
				})
			}
			for _, name := range sortedNames(item.Max) {
				maximum := item.Max[name]
				if has, ok := c.Resources.Limits[name]; ok && has.Cmp(maximum) > 0 {
					add(fmt.Sprintf("%s's %s limit %s is more than the maximum %s", c.Name, name, has.String(), maximum.String()), "limits", name)
				}
			}
			for _, name := range sortedNames(item.Min) {
				minimum := item.Min[name]
				if has, ok := c.Resources.Requests[name]; ok && has.Cmp(minimum) < 0 {
					add(fmt.Sprintf("%s's %s request %s is less than the minimum %s", c.Name, name, has.String(), minimum.String()), "requests", name)
				}
			}
			for _, name := range sortedNames(item.MaxLimitRequestRatio) {
				ratio, request, limit := item.MaxLimitRequestRatio[name], c.Resources.Requests[name], c.Resources.Limits[name]
				if !request.IsZero() && !limit.IsZero() && limit.AsApproximateFloat64()/request.AsApproximateFloat64() > ratio.AsApproximateFloat64() {
					add(fmt.Sprintf("%s's %s limit %s is more than %s times its request %s", c.Name, name, limit.String(), ratio.String(), request.String()), "requests", name)
				}
			}
		}
	}
	return all
}

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	var names []corev1.ResourceName
	for name := range list {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
