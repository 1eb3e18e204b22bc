// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/source"
)

// sources are what decides about pods, as far as it was read.
type sources struct {
	configMaps map[string]configMap
	networks   map[string]networking
	// distrusted is set if the webhook gives a pod something else than what is computed
	// here. Then pods are not compared with it.
	distrusted bool
}

type configMap struct {
	config *webhook.Config
	err    error
	read   bool
}

type networking struct {
	networking *webhook.Networking
	err        error
	read       bool
}

// decide returns what the webhook would decide about a pod today. It is nil if something
// that decides could not be read.
func (in *inspection) decide(ctx context.Context, namespace string, p *corev1.Pod) *webhook.Result {
	if in.install == nil || in.install.config == nil {
		return nil
	}
	r := webhook.Request{
		Pod: p, Images: in.install.images, Version: in.install.version, Defaults: in.install.config,
		Namespace: webhook.Namespace{Name: namespace}, OldestNode: in.oldestNode(&p.Spec),
	}
	if ns := in.namespaceOf(namespace); ns != nil {
		r.Namespace.PodSecurity = ns.Labels[source.PodSecurity]
	}
	name, required, refusal := webhook.ConfigMapFor(p, r.Defaults)
	if refusal != nil {
		return refusal
	}
	if name != "" {
		cm := in.configMap(ctx, namespace, name)
		switch {
		case !cm.read:
			return nil
		case cm.err != nil:
			result := webhook.Refused(webhook.ReasonBadConfig, cm.err.Error())
			return &result
		case cm.config == nil && required:
			result := webhook.Refused(webhook.ReasonConfigMissing, fmt.Sprintf("ConfigMap %q, which its annotation names, does not exist", name))
			return &result
		}
		r.ConfigMap = cm.config
	}
	if r.Defaults.Gardener() && !r.Disabled() {
		n := in.networking(ctx, namespace)
		if !n.read {
			return nil
		}
		if n.err != nil {
			result := webhook.Refused(webhook.ReasonBadConfig, n.err.Error())
			return &result
		}
		r.Networking = n.networking
	}
	result := webhook.Mutate(r)
	return &result
}

// configMap reads the configuration of a namespace, once.
func (in *inspection) configMap(ctx context.Context, namespace, name string) configMap {
	key := namespace + "/" + name
	if cm, ok := in.sources.configMaps[key]; ok {
		return cm
	}
	found := configMap{read: true}
	cm, err := in.clients.Core.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil:
		found.config, found.err = source.ConfigMap(cm)
	case !apierrors.IsNotFound(err):
		in.denials.Note(reading.To("get", "configmaps", namespace, "what the namespace's pods should get"), err)
		found.read = false
	}
	if in.sources.configMaps == nil {
		in.sources.configMaps = map[string]configMap{}
	}
	in.sources.configMaps[key] = found
	return found
}

// networking reads Gardener's Cluster of a namespace, once.
func (in *inspection) networking(ctx context.Context, namespace string) networking {
	if n, ok := in.sources.networks[namespace]; ok {
		return n
	}
	found := networking{read: true}
	object, err := in.clients.Dynamic.Resource(source.Clusters).Get(ctx, namespace, metav1.GetOptions{})
	switch {
	case err == nil:
		var data []byte
		if data, err = object.MarshalJSON(); err == nil {
			found.networking, err = source.Networking(namespace, data)
		}
		found.err = err
	case !apierrors.IsNotFound(err):
		in.denials.Note(reading.To("get", "clusters.extensions.gardener.cloud", "", "the shoots' networks of Gardener"), err)
		found.read = false
	}
	if in.sources.networks == nil {
		in.sources.networks = map[string]networking{}
	}
	in.sources.networks[namespace] = found
	return found
}

// calibrate compares what the webhook gave a pod with what is computed here. If they
// differ, the webhook has another version or another configuration, and pods cannot be
// compared with it.
func (in *inspection) calibrate(ctx context.Context, namespace string, p *corev1.Pod) {
	version, hash, err := webhook.Injected(p)
	if err != nil || hash == "" {
		return
	}
	computed := in.decide(ctx, namespace, p)
	if computed == nil || computed.Hash == hash {
		return
	}
	in.sources.distrusted = true
	in.add(Finding{
		Check: "configuration-in-use", Group: GroupWebhook, Status: Warning,
		Message: fmt.Sprintf("The webhook (pods get version %s) gives a pod something else than this program (%s) computes from the webhook's configuration. Pods are not compared with it.", version, in.Version),
		Next:    "if the configuration was changed just now, wait for a minute; otherwise use the webhook's own version of this program",
	})
}
