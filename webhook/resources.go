// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// all are the amounts that are given, by the resource's name.
func (a amounts) all() iter.Seq2[corev1.ResourceName, string] {
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

// or are the amounts, with others where nothing is said.
func (a amounts) or(fallback amounts) amounts {
	return amounts{
		CPU:              cmp.Or(a.CPU, fallback.CPU),
		Memory:           cmp.Or(a.Memory, fallback.Memory),
		EphemeralStorage: cmp.Or(a.EphemeralStorage, fallback.EphemeralStorage),
	}
}

// list is what a container has. The amounts were read before.
func (a amounts) list() corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, value := range a.all() {
		list[name] = resource.MustParse(value)
	}
	return list
}

// example is an amount that would do, in limits or requests.
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

// beyondAll are exponents that a quantity may have (resource.ParseQuantity), and whose
// comparison with another takes the memory and the time of all of its digits.
var beyondAll = regexp.MustCompile(`[eE][+-]?[0-9]{3,}`)

// parseAmount is resource.ParseQuantity for amounts that a machine can have.
func parseAmount(text string) (resource.Quantity, error) {
	if len(text) > 32 || beyondAll.MatchString(text) {
		return resource.Quantity{}, resource.ErrFormatWrong
	}
	return resource.ParseQuantity(text)
}

// checkAmounts refuses amounts of a pod that cannot be compared with others in any time.
func checkAmounts(pod *corev1.Pod) *Result {
	const sentence = "%s asks for more, or for less, than there is: correct its resources"
	for _, c := range containers(&pod.Spec) {
		if !sane(c.Resources.Requests) || !sane(c.Resources.Limits) {
			return refuse(ReasonPodResources, sentence, fmt.Sprintf("container %q", c.Name))
		}
	}
	if whole := podResources(pod); !sane(whole.Requests) || !sane(whole.Limits) {
		return refuse(ReasonPodResources, sentence, "the pod")
	}
	return nil
}

// sane reports whether each amount has an exponent of two digits at most.
func sane(list corev1.ResourceList) bool {
	for _, q := range list {
		if scale := q.AsDec().Scale(); scale < -99 || scale > 99 {
			return false
		}
	}
	return true
}

// check says what is wrong with the first amount that is none, or that asks for more than
// its limit, which is a default where the operator says none. field is where they are,
// such as sidecar.resources.
func (r resources) check(field string, fallback amounts) (name, value, problem string) {
	limits := maps.Collect(r.Limits.or(fallback).all())
	for _, part := range []struct {
		name    string
		amounts amounts
	}{{"limits", r.Limits}, {"requests", r.Requests}} { // in this order: a request is compared with a limit that was read
		for resourceName, text := range part.amounts.all() {
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

// requirements are a container's, within what the pod as a whole may use.
func (in *injection) requirements(given, fallback resources) corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{Requests: given.Requests.or(fallback.Requests).list(), Limits: given.Limits.or(fallback.Limits).list()}
	for name, limit := range r.Limits {
		if most, ok := podResources(in.pod).Limits[name]; ok && limit.Cmp(most) > 0 {
			limit = most
			r.Limits[name] = limit
		}
		if request, ok := r.Requests[name]; ok && (in.guaranteed || request.Cmp(limit) > 0) {
			r.Requests[name] = limit
		}
	}
	return r
}

// podResources are what a pod says for all of its containers together (Kubernetes 1.34).
func podResources(pod *corev1.Pod) corev1.ResourceRequirements {
	if pod.Spec.Resources == nil {
		return corev1.ResourceRequirements{}
	}
	return *pod.Spec.Resources
}

// staysGuaranteed reports whether both containers have what a Guaranteed pod needs. Their
// memory is always limited.
func (s *settings) staysGuaranteed() bool {
	return s.Sidecar.Resources.Limits.CPU != "" && s.Redirect.Resources.Limits.CPU != ""
}

// isGuaranteed reports whether each container of a pod gets what it may use at most: the
// quality of service class Guaranteed. A pod with resources of its own has its class from
// them, whatever its containers have.
func isGuaranteed(pod *corev1.Pod) bool {
	if pod.Spec.Resources != nil || len(pod.Spec.Containers) == 0 {
		return false
	}
	for _, c := range containers(&pod.Spec) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, ok := c.Resources.Limits[name]
			if !ok || limit.IsZero() {
				return false
			}
			if request, ok := c.Resources.Requests[name]; ok && request.Cmp(limit) != 0 {
				return false
			}
		}
	}
	return true
}

// fit bounds proxy-client's memory by the pod's own limit, and refuses a pod whose own
// resources are too small for what it gets. kube-apiserver takes a container's limit above
// the pod's, which then is the one that the kernel knows; requests it compares itself.
func (in *injection) fit() *Result {
	if in.pod.Spec.Resources == nil {
		return nil
	}
	whole := podResources(in.pod)
	if most, ok := whole.Limits[corev1.ResourceMemory]; ok && most.Value() < in.memory {
		if most.Value() < leastMemory(in.totalBuffer) {
			return refuse(ReasonPodResources, "the pod's spec.resources.limits.memory %s is less than the %s that proxy-client needs for sidecar.totalBuffer: raise it",
				most.String(), resource.NewQuantity(leastMemory(in.totalBuffer), resource.BinarySI))
		}
		in.memory = most.Value()
	}
	wanted := in.allRequests()
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		have, ok := whole.Requests[name]
		if sum := wanted[name]; ok && sum.Cmp(have) > 0 {
			return refuse(ReasonPodResources, "the pod's spec.resources.requests.%s %s is less than the %s that its containers request together with init-redirect and proxy-client: raise it, or write it where only spec.resources.limits is written",
				name, have.String(), sum.String())
		}
	}
	return nil
}

// allRequests are what the containers of the pod request, ours included, as kube-apiserver
// adds them up (component-helpers/resource, AggregateContainerRequests). A container that
// runs on takes its part from the next init container's start.
func (in *injection) allRequests() corev1.ResourceList {
	p := in.parts()
	first, running := []corev1.Container{p.initRedirect}, in.pod.Spec.Containers
	if in.native {
		first = append(first, p.proxyClient)
	} else {
		running = append(slices.Clip(running), p.proxyClient)
	}
	all, sidecars, most := corev1.ResourceList{}, corev1.ResourceList{}, corev1.ResourceList{}
	for _, c := range running {
		addTo(all, c.Resources.Requests)
	}
	for _, c := range append(first, in.pod.Spec.InitContainers...) {
		peak := sidecars.DeepCopy()
		addTo(peak, c.Resources.Requests)
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			addTo(sidecars, c.Resources.Requests)
			addTo(all, c.Resources.Requests)
		}
		raise(most, peak)
	}
	raise(all, most)
	return all
}

func addTo(sum, more corev1.ResourceList) {
	for name, q := range more {
		total := sum[name].DeepCopy()
		total.Add(q)
		sum[name] = total
	}
}

// raise makes each amount of a list no less than that of another.
func raise(list, least corev1.ResourceList) {
	for name, q := range least {
		if have, ok := list[name]; !ok || have.Cmp(q) < 0 {
			list[name] = q
		}
	}
}
