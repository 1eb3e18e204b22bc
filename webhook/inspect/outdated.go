// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// checkOutdated finds injected pods that would get something else today.
func (in *inspection) checkOutdated(context.Context) {
	var found findings
	same := 0
	for _, s := range in.subjects {
		if !s.real || !s.injected() || s.now == nil || in.sources.distrusted {
			continue
		}
		next, command := s.anew()
		f := Finding{Check: "pod-outdated", Group: GroupPods, Status: Warning, Next: next, Commands: some(command)}
		switch {
		case s.now.Decision == webhook.Refuse:
			f.Check, f.Message = "pod-refused-anew", sentence("It runs, but made anew the webhook would refuse it: "+s.now.Message)
			f.Next, f.Commands = "correct that before the pod is replaced", nil
		case s.now.Reason == webhook.ReasonConfigDisabled:
			f.Message = sentence(s.now.Message)
			f.Next, f.Commands = "", nil
		case s.now.Hash == s.hash:
			same++
			continue
		default:
			f.Message = in.difference(s)
		}
		found.add(f, s.name)
	}
	in.add(found.all...)
	if same > 0 {
		in.add(Finding{Check: "pod-outdated", Group: GroupPods, Status: OK, Message: fmt.Sprintf("%d injected %s what the webhook gives today.", same, havePods(same))})
	}
}

func havePods(n int) string {
	if n == 1 {
		return "pod has"
	}
	return "pods have"
}

// difference says what an injected pod has, and what it would get.
func (in *inspection) difference(s *subject) string {
	var what []string
	if s.now.Pod != nil {
		what = differences(s.pod, s.now.Pod)
	}
	said := "."
	if len(what) > 0 {
		said = ": " + strings.Join(what[:min(len(what), maxDifferences)], "; ")
		if more := len(what) - maxDifferences; more > 0 {
			said += fmt.Sprintf("; and %d more", more)
		}
		said += "."
	}
	if s.version != in.install.version && in.install.version != "" {
		return fmt.Sprintf("It was injected by version %s, and the webhook has %s%s", s.version, in.install.version, said)
	}
	return "The configuration has changed since it was injected" + said
}

// maxDifferences is how many differing settings a finding names.
const maxDifferences = 6

// differences returns the settings that differ between an injected pod and the same pod
// injected today.
func differences(has, wants *corev1.Pod) []string {
	var all []string
	for _, name := range []string{"init-redirect", "proxy-client"} {
		a, nativeA := ours(has, name)
		b, nativeB := ours(wants, name)
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

// ours returns a container of ours, and whether it is an init container.
func ours(p *corev1.Pod, name string) (c *corev1.Container, initContainer bool) {
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
	a, b := flagValues(has), flagValues(wants)
	var names []string
	for name := range a {
		names = append(names, name)
	}
	for name := range b {
		names = append(names, name)
	}
	var all []string
	for _, name := range unique(names) {
		if x, y := strings.Join(a[name], ","), strings.Join(b[name], ","); x != y {
			all = append(all, changed(name, x, y))
		}
	}
	return all
}

func flagValues(args []string) map[string][]string {
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
