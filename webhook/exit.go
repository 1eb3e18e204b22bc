// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/webhook/internal/configfile"
)

// hasExit reports whether the pod's connections go through an exit. Without addresses the
// other fields about an exit mean nothing: an operator may set them for all namespaces, some
// of which have an exit.
func (s *settings) hasExit() bool { return len(s.Exit.Addresses) > 0 }

// isAboutExit reports whether a field of that name is about an exit.
func isAboutExit(field string) bool { return strings.HasPrefix(field, "exit.") }

// exitCAKey returns the key of the exit's CA.
func (s *settings) exitCAKey() string {
	return cmp.Or(s.Exit.TLS.CAKey, configfile.DefaultCAKey)
}

// checkExit returns what is missing for an exit.
func (s *settings) checkExit() (name, value, problem string) {
	addresses := strings.Join(s.Exit.Addresses, ",")
	switch tls := s.Exit.TLS; {
	case !s.hasExit() && s.Exit.Policy == options.ExitRequire:
		return "exit.policy", s.Exit.Policy, "asks for an exit, and nothing says where one is: set exit.addresses, or leave this out"
	case !s.hasExit():
		return "", "", ""
	case tls.CASecret == "" && tls.CAConfigMap == "":
		return "exit.addresses", addresses, "needs exit.tls.caSecret or caConfigMap: without a CA nothing tells the exit from an impostor"
	case tls.ClientSecret == "":
		return "exit.addresses", addresses, "needs exit.tls.clientSecret: an exit decides by the certificate what the pod may reach"
	default:
		return "", "", ""
	}
}

// exitPlaceholders returns values with which fields about an exit can be validated: none if
// a file sets none of them.
func exitPlaceholders(c *configfile.File) map[string]string {
	for _, f := range configfile.Fields() {
		if !isAboutExit(f.Name) || f.Of(c) == nil {
			continue
		}
		placeholders := map[string]string{"exit.addresses": "exit.invalid:1", "exit.tls.clientSecret": "secret"}
		if c.Exit.TLS.CAConfigMap == "" {
			placeholders["exit.tls.caSecret"] = "secret"
		}
		return placeholders
	}
	return nil
}

// exitVolumes returns the volumes with the TLS files for the exit.
func (in *injection) exitVolumes() []corev1.Volume {
	if !in.hasExit() {
		return nil
	}
	tls := in.Exit.TLS
	return []corev1.Volume{
		{Name: volumeExitCA, VolumeSource: caVolume(tls.CASecret, tls.CAConfigMap, in.exitCAKey())},
		{Name: volumeExitClient, VolumeSource: secretVolume(tls.ClientSecret, corev1.TLSCertKey, corev1.TLSPrivateKeyKey)},
	}
}

// exitMounts returns where proxy-client has these volumes.
func (in *injection) exitMounts() []corev1.VolumeMount {
	if !in.hasExit() {
		return nil
	}
	return []corev1.VolumeMount{
		{Name: volumeExitCA, MountPath: pathExitCA, ReadOnly: true},
		{Name: volumeExitClient, MountPath: pathExitClient, ReadOnly: true},
	}
}
