// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// maxWarning is the maximum length of a warning, in characters. The API server cuts
// admission warnings at 256 bytes, and terminals cut them much earlier.
const maxWarning = 120

// warning returns a warning of at most maxWarning characters.
func warning(format string, args ...any) string {
	text := []rune(fmt.Sprintf(format, args...))
	if len(text) > maxWarning {
		text = append(text[:maxWarning-1], '…')
	}
	return string(text)
}

// warnings returns what is noteworthy, but not wrong.
func (r *Request) warnings(in *injection) []string {
	var all []string
	add := func(format string, args ...any) { all = append(all, warning(format, args...)) }
	if level := r.Namespace.PodSecurity; level == "baseline" || level == "restricted" {
		add("Pod Security %q here forbids init-redirect's NET_ADMIN: label the namespace to enforce \"privileged\"", level)
	}
	for _, text := range in.inheritedWarnings() {
		add("%s", text)
	}
	if isGuaranteed(in.pod) && !in.guaranteed {
		add("this Guaranteed pod becomes Burstable: sidecar.resources and redirect.resources need limits.cpu to keep it")
	}
	for _, name := range slices.Sorted(maps.Keys(in.Pod.Labels)) {
		if value, ok := in.pod.Labels[name]; ok && value != in.Pod.Labels[name] {
			add("label %s of the pod is %q and stays so: the operator's is %q", name, value, in.Pod.Labels[name])
		}
	}
	if len(in.Pod.ImagePullSecrets) > 0 && len(in.pod.Spec.ImagePullSecrets) == 0 && r.OldestNode == NoOldNodes {
		add("with imagePullSecrets of its own the pod does not get those of its ServiceAccount: list them too")
	}
	if text := in.oneDefaultImage(); text != "" {
		add("%s", text)
	}
	for _, f := range configfile.Fields() {
		if slices.Contains(in.emptyLists, f.Flag) {
			add("excludeCIDRs leaves nothing of %s: exclude less, or leave that list out", f.Name)
		}
	}
	for _, value := range r.Defaults.seedCIDRs() {
		seed, _ := parsePrefix(value) // ParseConfig has parsed it
		for _, text := range in.Shoot.CIDRs() {
			if p, problem := parsePrefix(text); problem == "" && p.Overlaps(seed) && !in.excludes(narrower(p, seed)) {
				add("the shoot's %s overlaps the seed's %s, which the pod cannot reach any more: see exclude-cidrs", p, seed)
			}
		}
	}
	return all
}

// oneDefaultImage returns a warning if only one of the images is a default. The
// defaults are the names of a release's images, which nodes may have without a
// registry.
func (s *settings) oneDefaultImage() string {
	const client, redirect = "images.proxyClient", "images.initRedirect"
	isDefault := func(name string) bool { return s.sources[name].source == sourceDefault }
	switch {
	case isDefault(client) && !isDefault(redirect):
		return fmt.Sprintf("%s is not set beside %s: the pod gets %s", client, redirect, s.Images.ProxyClient)
	case isDefault(redirect) && !isDefault(client):
		return fmt.Sprintf("%s is not set beside %s: the pod gets %s", redirect, client, s.Images.InitRedirect)
	default:
		return ""
	}
}

// narrower returns the intersection of two overlapping prefixes.
func narrower(a, b netip.Prefix) netip.Prefix {
	if a.Bits() > b.Bits() {
		return a
	}
	return b
}

// excludes reports whether all of p is excluded.
func (s *settings) excludes(p netip.Prefix) bool {
	return slices.ContainsFunc(s.ExcludeCIDRs, func(text string) bool {
		e, problem := parsePrefix(text)
		return problem == "" && e.Bits() <= p.Bits() && e.Overlaps(p)
	})
}
