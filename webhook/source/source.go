// SPDX-License-Identifier: Apache-2.0

// Package source reads objects of a cluster as sources of an injection: ConfigMaps,
// Gardener's Clusters, nodes.
//
// It gets the objects from its callers, and never asks an API server.
package source

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
)

// PodSecurity is the label of a namespace with the level that the namespace enforces.
const PodSecurity = "pod-security.kubernetes.io/enforce"

// UnusableError reports a source that exists and cannot be used.
type UnusableError struct {
	// Sentence is for the API server's client. It quotes nothing of the source.
	Sentence string
	// Detail is for the operator.
	Detail string
}

// Error returns the sentence.
func (e *UnusableError) Error() string { return e.Sentence }

// ConfigMap reads a namespace's ConfigMap. Its error is an [*UnusableError].
func ConfigMap(cm *corev1.ConfigMap) (*webhook.Config, error) {
	name := fmt.Sprintf("ConfigMap %q", cm.Name)
	text, ok := cm.Data[webhook.ConfigKey]
	if !ok {
		return nil, &UnusableError{Sentence: fmt.Sprintf("%s has no key %s: write the InjectionConfig there, or remove the ConfigMap", name, webhook.ConfigKey)}
	}
	config, err := webhook.ParseNamespaceConfig(name, []byte(text))
	if err != nil {
		return nil, &UnusableError{Sentence: err.Error(), Detail: webhook.Detail(err)}
	}
	return config, nil
}
