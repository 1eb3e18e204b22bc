// SPDX-License-Identifier: Apache-2.0

// Package poddiff says in which settings two injected pods differ.
package poddiff

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// The containers of an injected pod.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"
)

// Settings returns the settings that differ between an injected pod and the same pod
// injected today.
func Settings(has, wants *corev1.Pod) []string {
	var all []string
	for _, name := range []string{initRedirect, proxyClient} {
		a, nativeA := Container(has, name)
		b, nativeB := Container(wants, name)
		if a == nil || b == nil {
			continue
		}
		if nativeA != nativeB {
			all = append(all, fmt.Sprintf("proxy-client is %s, now %s", order(nativeA), order(nativeB)))
		}
		if a.Image != b.Image {
			all = append(all, changed("image of "+name, a.Image, b.Image))
		}
		all = append(all, changedArgs(a.Args, b.Args)...)
		for _, kind := range []struct {
			name string
			a, b corev1.ResourceList
		}{{"request", a.Resources.Requests, b.Resources.Requests}, {"limit", a.Resources.Limits, b.Resources.Limits}} {
			for _, resource := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
				if x, y := kind.a[resource], kind.b[resource]; x.Cmp(y) != 0 {
					all = append(all, changed(fmt.Sprintf("%s %s of %s", resource, kind.name, name), x.String(), y.String()))
				}
			}
		}
		if (a.ReadinessProbe == nil) != (b.ReadinessProbe == nil) {
			all = append(all, fmt.Sprintf("readiness probe of %s: %s, now %s", name, yesNo(a.ReadinessProbe != nil), yesNo(b.ReadinessProbe != nil)))
		}
	}
	for _, v := range wants.Spec.Volumes {
		i := slices.IndexFunc(has.Spec.Volumes, func(w corev1.Volume) bool { return w.Name == v.Name })
		if i >= 0 && !equality.Semantic.DeepEqual(has.Spec.Volumes[i].VolumeSource, v.VolumeSource) {
			if x, y := volumeInWords(has.Spec.Volumes[i]), volumeInWords(v); x != y {
				all = append(all, changed("volume "+v.Name, x, y))
			}
		}
	}
	return slices.Compact(all)
}

func yesNo(yes bool) string {
	if yes {
		return "yes"
	}
	return "no"
}

func order(native bool) string {
	if native {
		return "a native sidecar"
	}
	return "the first container"
}

// Container returns a pod's container of a name, or nil, and whether it is an init container.
func Container(p *corev1.Pod, name string) (c *corev1.Container, initContainer bool) {
	for i := range p.Spec.InitContainers {
		if p.Spec.InitContainers[i].Name == name {
			return &p.Spec.InitContainers[i], true
		}
	}
	for i := range p.Spec.Containers {
		if p.Spec.Containers[i].Name == name {
			return &p.Spec.Containers[i], false
		}
	}
	return nil, false
}

// changedArgs compares flags. Values of a repeated flag are one list.
func changedArgs(has, wants []string) []string {
	a, b := FlagValues(has), FlagValues(wants)
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		names = append(names, name)
	}
	slices.Sort(names)
	var all []string
	for _, name := range slices.Compact(names) {
		if x, y := strings.Join(a[name], ","), strings.Join(b[name], ","); x != y {
			all = append(all, changed(name, x, y))
		}
	}
	return all
}

// FlagValues returns the values of each flag in a container's arguments.
func FlagValues(args []string) map[string][]string {
	values := map[string][]string{}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		values[name] = append(values[name], value)
	}
	return values
}

func changed(what, has, wants string) string {
	if has == "" {
		has = "not set"
	}
	if wants == "" {
		wants = "not set"
	}
	return fmt.Sprintf("%s %s, now %s", what, has, wants)
}

// volumeInWords returns what a volume of ours mounts.
func volumeInWords(v corev1.Volume) string {
	var keys []string
	kind := ""
	switch {
	case v.Secret != nil:
		kind = "Secret " + v.Secret.SecretName
		for _, i := range v.Secret.Items {
			keys = append(keys, i.Key)
		}
	case v.ConfigMap != nil:
		kind = "ConfigMap " + v.ConfigMap.Name
		for _, i := range v.ConfigMap.Items {
			keys = append(keys, i.Key)
		}
	default:
		return ""
	}
	return kind + " (" + strings.Join(keys, ", ") + ")"
}
