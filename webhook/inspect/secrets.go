// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/tlsobject"
)

// The volumes of an injected pod with TLS files.
const (
	volumeCA     = "shoot-proxy-ca"
	volumeClient = "shoot-proxy-client-tls"
)

// The containers of an injected pod.
const (
	initRedirect = "init-redirect"
	proxyClient  = "proxy-client"
)

// checkSecrets looks at the Secrets and ConfigMaps that injected pods mount.
func (in *inspection) checkSecrets(ctx context.Context) {
	in.materials = map[string]*tlsobject.Object{}
	var cas, clients []*tlsobject.Object
	for _, s := range in.subjects {
		p := s.spec()
		if p == nil {
			continue
		}
		for _, v := range p.Spec.Volumes {
			switch v.Name {
			case volumeCA:
				if m := in.need(s, v); m != nil && !slices.Contains(cas, m) {
					cas = append(cas, m)
				}
			case volumeClient:
				if m := in.need(s, v); m != nil && !slices.Contains(clients, m) {
					clients = append(clients, m)
				}
			}
		}
	}
	for _, m := range cas {
		if in.readMaterial(ctx, m) {
			in.add(m.CheckCA(in.now))
		}
	}
	for _, m := range clients {
		if in.readMaterial(ctx, m) {
			in.add(m.CheckClient(in.now))
		}
	}
}

// need notes that a pod mounts a volume of TLS files.
func (in *inspection) need(s *subject, v corev1.Volume) *tlsobject.Object {
	m := in.materialOf(s, v)
	if m != nil {
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
