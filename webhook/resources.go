// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// checkAmounts refuses a pod with amounts that would take too long to compare.
func checkAmounts(pod *corev1.Pod) *Result {
	const sentence = "%s asks for more, or for less, than there is: correct its resources"
	for _, c := range containers(&pod.Spec) {
		if !hasSmallExponents(c.Resources.Requests) || !hasSmallExponents(c.Resources.Limits) {
			return refuse(ReasonPodResources, sentence, fmt.Sprintf("container %q", c.Name))
		}
	}
	if whole := podResources(pod); !hasSmallExponents(whole.Requests) || !hasSmallExponents(whole.Limits) {
		return refuse(ReasonPodResources, sentence, "the pod")
	}
	return nil
}

// hasSmallExponents reports whether each amount's exponent has at most two digits.
func hasSmallExponents(list corev1.ResourceList) bool {
	for _, q := range list {
		if scale := q.AsDec().Scale(); scale < -99 || scale > 99 {
			return false
		}
	}
	return true
}

// requirements returns a container's resources, within the pod's own limits.
func (in *injection) requirements(given, fallback configfile.Resources) corev1.ResourceRequirements {
	r := corev1.ResourceRequirements{Requests: given.Requests.WithFallback(fallback.Requests).ResourceList(), Limits: given.Limits.WithFallback(fallback.Limits).ResourceList()}
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

// podResources returns the resources that a pod sets for all its containers together
// (Kubernetes 1.34).
func podResources(pod *corev1.Pod) corev1.ResourceRequirements {
	if pod.Spec.Resources == nil {
		return corev1.ResourceRequirements{}
	}
	return *pod.Spec.Resources
}

// staysGuaranteed reports whether both containers have what a Guaranteed pod requires.
// Their memory always has a limit.
func (s *settings) staysGuaranteed() bool {
	return s.Sidecar.Resources.Limits.CPU != "" && s.Redirect.Resources.Limits.CPU != ""
}

// isGuaranteed reports whether a pod has quality of service class Guaranteed: each
// container's requests equal its limits. For a pod with its own resources it returns
// false, because its class depends on those and not on its containers.
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

// fitPodResources limits proxy-client's memory to the pod's own limit. It refuses a pod
// whose own resources are too small for what it gets. kube-apiserver accepts a
// container's limit above the pod's, but the kernel applies only the pod's. Requests it
// compares itself.
func (in *injection) fitPodResources() *Result {
	if in.pod.Spec.Resources == nil {
		return nil
	}
	whole := podResources(in.pod)
	if most, ok := whole.Limits[corev1.ResourceMemory]; ok && most.Value() < in.memory {
		if most.Value() < minMemoryBytes(in.totalBuffer) {
			return refuse(ReasonPodResources, "the pod's spec.resources.limits.memory %s is less than the %s that proxy-client needs for sidecar.totalBuffer: raise it",
				most.String(), resource.NewQuantity(minMemoryBytes(in.totalBuffer), resource.BinarySI))
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

// allRequests returns what the pod's containers request together with ours. It sums
// them as kube-apiserver does (component-helpers/resource, AggregateContainerRequests).
// A sidecar counts from the next init container on.
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
		raiseTo(most, peak)
	}
	raiseTo(all, most)
	return all
}

func addTo(sum, more corev1.ResourceList) {
	for name, q := range more {
		total := sum[name].DeepCopy()
		total.Add(q)
		sum[name] = total
	}
}

// raiseTo raises each amount of list to at least that of least.
func raiseTo(list, least corev1.ResourceList) {
	for name, q := range least {
		if have, ok := list[name]; !ok || have.Cmp(q) < 0 {
			list[name] = q
		}
	}
}
