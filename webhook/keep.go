// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// parts are everything that a pod gets, except its annotations.
type parts struct {
	initRedirect, proxyClient corev1.Container
	volumes                   []corev1.Volume
	labels                    map[string]string
	pullSecrets               []string
}

func (in *injection) parts() parts {
	p := parts{in.initContainer(), in.sidecarContainer(), in.volumes(), in.Pod.Labels, in.Pod.ImagePullSecrets}
	setProfiles(&p.initRedirect, in.pod)
	setProfiles(&p.proxyClient, in.pod)
	return p
}

// keepChanges returns the parts with the changes that other webhooks have made to them
// in pod. docs/pod-fields.md lists the fields that they may change.
func (p parts) keepChanges(pod *corev1.Pod) parts {
	kept := parts{keptContainer(pod, p.initRedirect), keptContainer(pod, p.proxyClient), slices.Clone(p.volumes), maps.Clone(p.labels), p.pullSecrets}
	for name := range kept.labels {
		if value, ok := pod.Labels[name]; ok {
			kept.labels[name] = value
		}
	}
	for i, wanted := range kept.volumes {
		if j := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == wanted.Name }); j >= 0 {
			kept.volumes[i] = pod.Spec.Volumes[j]
		}
	}
	return kept
}

// keptContainer returns the container of wanted's name in pod, with the fields of the
// redirect as wanted. If the pod has no such container, it returns wanted.
func keptContainer(pod *corev1.Pod, wanted corev1.Container) corev1.Container {
	all := containers(&pod.Spec)
	i := slices.IndexFunc(all, func(c *corev1.Container) bool { return c.Name == wanted.Name })
	if i < 0 {
		return wanted
	}
	c := *all[i].DeepCopy()
	c.Command, c.Args = wanted.Command, wanted.Args
	c.RestartPolicy, c.RestartPolicyRules = wanted.RestartPolicy, wanted.RestartPolicyRules
	c.SecurityContext = keptContext(c.SecurityContext, wanted.SecurityContext)
	c.VolumeMounts = keptMounts(c.VolumeMounts, wanted.VolumeMounts)
	if wanted.Lifecycle != nil { // it defines when the app may start
		if c.Lifecycle == nil {
			c.Lifecycle = &corev1.Lifecycle{}
		}
		c.Lifecycle.PostStart = wanted.Lifecycle.PostStart
	}
	return c
}

// keptContext returns wanted. Fields that wanted does not set come from existing.
func keptContext(existing, wanted *corev1.SecurityContext) *corev1.SecurityContext {
	c := wanted.DeepCopy()
	if existing == nil {
		return c
	}
	if c.SELinuxOptions == nil {
		c.SELinuxOptions = existing.SELinuxOptions
	}
	if c.AppArmorProfile == nil {
		c.AppArmorProfile = existing.AppArmorProfile
	}
	if c.ProcMount == nil {
		c.ProcMount = existing.ProcMount
	}
	if c.WindowsOptions == nil {
		c.WindowsOptions = existing.WindowsOptions
	}
	return c
}

// keptMounts returns the existing mounts. Each wanted mount replaces the one at its path.
func keptMounts(existing, wanted []corev1.VolumeMount) []corev1.VolumeMount {
	all := slices.Clone(existing)
	for _, w := range wanted {
		i := slices.IndexFunc(all, func(m corev1.VolumeMount) bool { return m.MountPath == w.MountPath })
		switch {
		case i < 0:
			all = append(all, w)
		case all[i].Name != w.Name:
			all[i] = w
		}
	}
	return all
}

// presentIn reports whether pod has the parts in their places. The order of volumes
// does not matter.
func (p parts) presentIn(pod *corev1.Pod, native bool) bool {
	first, then := pod.Spec.InitContainers, pod.Spec.Containers
	if native && len(first) > 0 {
		then = first[1:]
	}
	if len(first) == 0 || len(then) == 0 ||
		!equality.Semantic.DeepEqual(first[0], p.initRedirect) || !equality.Semantic.DeepEqual(then[0], p.proxyClient) {
		return false
	}
	for _, v := range p.volumes {
		if !slices.ContainsFunc(pod.Spec.Volumes, func(there corev1.Volume) bool { return equality.Semantic.DeepEqual(there, v) }) {
			return false
		}
	}
	for name := range p.labels {
		if _, ok := pod.Labels[name]; !ok {
			return false
		}
	}
	return !slices.ContainsFunc(p.pullSecrets, func(name string) bool { return !hasPullSecret(&pod.Spec, name) })
}
