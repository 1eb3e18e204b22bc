// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/tlsobject"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// The volumes of an injected pod with TLS files.
const (
	volumeCA     = "shoot-proxy-ca"
	volumeClient = "shoot-proxy-client-tls"

	volumeExitCA     = "shoot-proxy-exit-ca"
	volumeExitClient = "shoot-proxy-exit-client-tls"
)

// The containers of an injected pod.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"
)

// checkSecrets looks at the Secrets and ConfigMaps that injected pods mount.
func (in *inspection) checkSecrets(ctx context.Context) {
	in.materials = map[string]*tlsobject.Object{}
	for _, kind := range []struct {
		volume, what string
		check        func(o *tlsobject.Object, what string, now time.Time) report.Finding
	}{
		{volumeCA, tlsobject.ServerCA, (*tlsobject.Object).CheckCA},
		{volumeClient, tlsobject.ServerClient, (*tlsobject.Object).CheckClient},
		{volumeExitCA, tlsobject.ExitCA, (*tlsobject.Object).CheckCA},
		{volumeExitClient, tlsobject.ExitClient, (*tlsobject.Object).CheckClient},
	} {
		for _, m := range in.mountedAs(kind.volume) {
			if in.readMaterial(ctx, m) {
				in.add(kind.check(m, kind.what, in.now))
			}
		}
	}
}

// mountedAs returns what pods mount as the volume of that name.
func (in *inspection) mountedAs(volume string) []*tlsobject.Object {
	var all []*tlsobject.Object
	for _, s := range in.subjects {
		p := s.spec()
		if p == nil {
			continue
		}
		for _, v := range p.Spec.Volumes {
			if v.Name != volume {
				continue
			}
			if m := in.need(s, v); m != nil && !slices.Contains(all, m) {
				all = append(all, m)
			}
		}
	}
	return all
}

// need notes that a pod mounts a volume of TLS files.
func (in *inspection) need(s *subject, v corev1.Volume) *tlsobject.Object {
	m := in.materialOf(s, v)
	if m != nil && !slices.Contains(m.Pods, s.name) {
		m.Pods = append(m.Pods, s.name)
	}
	return m
}

// materialOf returns what a pod mounts as a volume, or nil.
func (in *inspection) materialOf(s *subject, v corev1.Volume) *tlsobject.Object {
	m := tlsobject.Mounted(s.namespace, v)
	if m == nil {
		return nil
	}
	if known, ok := in.materials[m.ID()]; ok {
		return known
	}
	in.materials[m.ID()] = m
	return m
}

// readMaterial reads an object, and reports whether it has all keys.
func (in *inspection) readMaterial(ctx context.Context, m *tlsobject.Object) bool {
	complete, wrong := m.Read(ctx, in.clients.Core, &in.denials)
	if wrong != nil {
		in.add(*wrong)
	}
	return complete
}
