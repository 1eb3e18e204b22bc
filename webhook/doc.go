// SPDX-License-Identifier: Apache-2.0

// Package webhook adds init-redirect and proxy-client to a pod.
//
// It owns the label, the annotations, the configuration and its sources, every
// decision with its reason, and what a pod gets. It is a pure function: it reads no
// file and asks no API server. Package serve is its edge towards kube-apiserver,
// package manifest the one towards files.
//
//	result := webhook.Mutate(webhook.Request{Pod: pod, Defaults: config, Images: images})
//	switch result.Decision {
//	case webhook.Inject:
//		patch, err := webhook.Patch(pod, result.Pod)
//		…
//	case webhook.Refuse:
//		return errors.New(result.Message)
//	}
//
// # Where a value comes from
//
// The operator's file, the namespace's ConfigMap, Gardener's Cluster, the pod's
// annotations: the later wins, value by value. The flags of both containers are
// rendered by package options, which the programs parse them with, so what is
// refused here is what they would refuse.
//
// # Asked again
//
// kube-apiserver asks again after another webhook has changed the pod. What that one made
// of our containers stays, but for what makes the redirect. What a pod's author has put
// under our names is replaced. managedFields tell the two apart, see [Request].
//
// # Fail closed
//
// A pod whose label asks for the shoot, and which would get no redirect, would send
// what is meant for the shoot into the seed's network. So whatever cannot be done is
// refused, in a sentence, and never half done.
package webhook
