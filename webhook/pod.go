// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/spelling"
)

// Wanted reports whether Mutate would do more with pod than skip it because of its
// label.
func Wanted(pod *corev1.Pod) bool {
	value, ok := pod.Labels[Label]
	return ok && value != "false"
}

// ConfigMapFor returns which ConfigMap of the pod's namespace to read. name is empty if
// the operator allows none. required is set if the pod names the ConfigMap, so that it
// must exist. refusal is not nil if the pod may not choose it.
func ConfigMapFor(pod *corev1.Pod, defaults *Config) (name string, required bool, refusal *Result) {
	name, required = pod.Annotations[AnnotationPrefix+annotationConfig]
	allowed := defaults.ConfigMaps()
	if !required {
		if !slices.Contains(allowed, DefaultConfigMap) {
			return "", false, nil
		}
		return DefaultConfigMap, false, nil
	}
	at := annotationSource(annotationConfig)
	if problem := checkName(name); problem != "" {
		return "", true, refuse(ReasonBadAnnotation, "%s %q %s", at, name, problem)
	}
	if defaults.locked(annotationConfig) {
		return "", true, refuse(ReasonLocked, "%s is locked by the operator: remove it", at)
	}
	if defaults != nil && !slices.Contains(allowed, name) {
		only := "none"
		if len(allowed) > 0 {
			only = "only " + strings.Join(allowed, ", ")
		}
		return "", true, refuse(ReasonConfigNotAllowed, "%s %q: the operator allows %s", at, name, only)
	}
	return name, true, nil
}

// checkAnnotations refuses unknown annotations with our prefix, and annotations that
// the operator has locked.
func (r *Request) checkAnnotations() *Result {
	var ours []string
	for name := range r.Pod.Annotations {
		if rest, ok := strings.CutPrefix(name, AnnotationPrefix); ok {
			ours = append(ours, rest)
		}
	}
	slices.Sort(ours) // the same sentence each time
	known := lockable()
	for _, name := range ours {
		switch {
		case name == annotationStatus, AnnotationPrefix+name == annotationRenewed:
		case !slices.Contains(known, name):
			return refuse(ReasonBadAnnotation, "%s is not known: %s", annotationSource(name), spelling.Question(name, known, "write some of "+strings.Join(known, ", ")))
		case r.Defaults.locked(name):
			return refuse(ReasonLocked, "%s is locked by the operator: remove it", annotationSource(name))
		case strings.TrimSpace(r.Pod.Annotations[AnnotationPrefix+name]) == "":
			return refuse(ReasonBadAnnotation, "%s is empty: remove it, or write something into it", annotationSource(name))
		}
	}
	return nil
}

// checkPod refuses pods that cannot be injected. pod has nothing of ours.
func checkPod(pod *corev1.Pod) *Result {
	spec := &pod.Spec
	if spec.HostNetwork {
		return refuse(ReasonHostNetwork, "the pod has hostNetwork: true, and the redirect would be the node's: remove hostNetwork, or the label %s", Label)
	}
	if forWindows(spec) {
		return refuse(ReasonWindows, "the pod is for Windows, where nothing can be redirected: remove the label %s", Label)
	}
	for _, c := range containers(spec) {
		if c.Name == proxyClient || c.Name == initRedirect {
			return refuse(ReasonForeignName, "container %q has a name that is ours: rename it, or remove it if it is an earlier injection by hand", c.Name)
		}
	}
	if name := appArmorOfOurs(pod); name != "" {
		return refuse(ReasonForeignName, "annotation %s is about a container that is ours: remove it", name)
	}
	if refusal := checkAmounts(pod); refusal != nil {
		return refusal
	}
	return checkVolumes(spec)
}

// checkVolumes refuses volumes with one of our names. It also refuses containers that
// mount a volume of ours, which the pod does not have yet.
func checkVolumes(spec *corev1.PodSpec) *Result {
	for _, v := range spec.Volumes {
		if slices.Contains(ourVolumes, v.Name) {
			return refuse(ReasonForeignName, "volume %q has a name that is ours: rename it", v.Name)
		}
	}
	for _, c := range containers(spec) {
		for _, m := range c.VolumeMounts {
			if slices.Contains(ourVolumes, m.Name) {
				return refuse(ReasonForeignName, "container %q mounts volume %q, which is for ours alone: remove that mount", c.Name, m.Name)
			}
		}
	}
	return nil
}

// checkCollisions refuses pods with a container that uses proxy-client's uid or one of
// its ports.
func (p *containerOptions) checkCollisions(pod *corev1.Pod) *Result {
	for _, c := range containers(&pod.Spec) {
		if uid := effectiveUID(&pod.Spec, c); uid != nil && *uid == p.initRedirect.ProxyUID {
			return refuse(ReasonProxyUID, "container %q runs as uid %d, which is proxy-client's, and would not be redirected: give it another runAsUser", c.Name, *uid)
		}
		for _, port := range c.Ports {
			if slices.Contains(p.ports(), int(port.ContainerPort)) {
				return refuse(ReasonPortCollision, "container %q has containerPort %d, which proxy-client needs: let it listen on another port", c.Name, port.ContainerPort)
			}
		}
	}
	return nil
}

// containers returns all containers of the pod, init containers first.
func containers(spec *corev1.PodSpec) []*corev1.Container {
	var all []*corev1.Container
	for i := range spec.InitContainers {
		all = append(all, &spec.InitContainers[i])
	}
	for i := range spec.Containers {
		all = append(all, &spec.Containers[i])
	}
	return all
}

func effectiveUID(spec *corev1.PodSpec, c *corev1.Container) *int64 {
	if c.SecurityContext != nil && c.SecurityContext.RunAsUser != nil {
		return c.SecurityContext.RunAsUser
	}
	if spec.SecurityContext != nil {
		return spec.SecurityContext.RunAsUser
	}
	return nil
}
