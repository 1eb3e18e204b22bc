// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// each calls f with every amount that is given, and the resource's name.
func (a amounts) each(f func(name corev1.ResourceName, value string)) {
	for _, one := range []struct {
		name  corev1.ResourceName
		value string
	}{
		{corev1.ResourceCPU, a.CPU}, {corev1.ResourceMemory, a.Memory}, {corev1.ResourceEphemeralStorage, a.EphemeralStorage},
	} {
		if one.value != "" {
			f(one.name, one.value)
		}
	}
}

// list is what a container has, with what holds where nothing is said. The amounts
// were read before.
func (a amounts) list(fallback amounts) corev1.ResourceList {
	a.CPU, a.Memory = cmp.Or(a.CPU, fallback.CPU), cmp.Or(a.Memory, fallback.Memory)
	list := corev1.ResourceList{}
	a.each(func(name corev1.ResourceName, value string) { list[name] = resource.MustParse(value) })
	return list
}

// check says what is wrong with the first amount that is none. field is where they are,
// such as sidecar.resources. Whether the memory is enough is for settings.memory.
func (r resources) check(field string) (name, value, problem string) {
	for _, part := range []struct {
		name    string
		amounts amounts
	}{{"requests", r.Requests}, {"limits", r.Limits}} {
		part.amounts.each(func(resourceName corev1.ResourceName, text string) {
			if q, err := resource.ParseQuantity(text); problem == "" && (err != nil || q.Sign() <= 0) {
				name, value = fmt.Sprintf("%s.%s.%s", field, part.name, resourceName), text
				problem = "is not an amount: write one such as 10m or 512Mi"
			}
		})
	}
	return name, value, problem
}
