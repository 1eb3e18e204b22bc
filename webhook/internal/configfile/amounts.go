// SPDX-License-Identifier: Apache-2.0

package configfile

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// given returns the amounts that are set, by resource.
func (a Amounts) given() iter.Seq2[corev1.ResourceName, string] {
	return func(yield func(corev1.ResourceName, string) bool) {
		for _, one := range []struct {
			name  corev1.ResourceName
			value string
		}{
			{corev1.ResourceCPU, a.CPU}, {corev1.ResourceMemory, a.Memory}, {corev1.ResourceEphemeralStorage, a.EphemeralStorage},
		} {
			if one.value != "" && !yield(one.name, one.value) {
				return
			}
		}
	}
}

// WithFallback returns the amounts, with those of fallback for unset ones.
func (a Amounts) WithFallback(fallback Amounts) Amounts {
	return Amounts{
		CPU:              cmp.Or(a.CPU, fallback.CPU),
		Memory:           cmp.Or(a.Memory, fallback.Memory),
		EphemeralStorage: cmp.Or(a.EphemeralStorage, fallback.EphemeralStorage),
	}
}

// ResourceList returns the amounts for a container. They were parsed before.
func (a Amounts) ResourceList() corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, value := range a.given() {
		list[name] = resource.MustParse(value)
	}
	return list
}

// example returns a valid amount for limits or requests.
func example(part string, name corev1.ResourceName) string {
	switch {
	case name == corev1.ResourceCPU:
		return "10m"
	case part == "limits":
		return "512Mi"
	default:
		return "32Mi"
	}
}

// hugeExponent matches exponents that resource.ParseQuantity accepts. Comparing such an
// amount would take memory and time for all its digits.
var hugeExponent = regexp.MustCompile(`[eE][+-]?[0-9]{3,}`)

// parseAmount is like resource.ParseQuantity, for amounts that a machine can have.
func parseAmount(text string) (resource.Quantity, error) {
	if len(text) > 32 || hugeExponent.MatchString(text) {
		return resource.Quantity{}, resource.ErrFormatWrong
	}
	return resource.ParseQuantity(text)
}

// Check returns what is wrong with the first amount that is invalid, or that is a
// request above its limit. If the operator sets no limit, the limit is a default. field
// is the section of the amounts, such as sidecar.resources.
func (r Resources) Check(field string, fallback Amounts) (name, value, problem string) {
	limits := maps.Collect(r.Limits.WithFallback(fallback).given())
	for _, part := range []struct {
		name    string
		amounts Amounts
	}{{"limits", r.Limits}, {"requests", r.Requests}} { // limits first, so that a request is compared with a valid limit
		for resourceName, text := range part.amounts.given() {
			name := fmt.Sprintf("%s.%s.%s", field, part.name, resourceName)
			q, err := parseAmount(text)
			if err != nil || q.Sign() <= 0 {
				return name, text, "is not an amount: write one such as " + example(part.name, resourceName)
			}
			if limit, ok := limits[resourceName]; ok && q.Cmp(resource.MustParse(limit)) > 0 {
				return name, text, fmt.Sprintf("is more than %s.limits.%s, which is %s: lower the one or raise the other", field, resourceName, limit)
			}
		}
	}
	return "", "", ""
}
