// SPDX-License-Identifier: Apache-2.0

// Package webhook adds init-redirect and proxy-client to a pod.
//
// It owns the label, the annotations, the configuration and its sources, every decision
// with its reason, and what a pod gets. It never reads a file and never calls an API
// server: its result depends only on its arguments. Package serve connects it to
// kube-apiserver, and package manifest to files.
//
//	result := webhook.Mutate(webhook.Request{Pod: pod, Defaults: config, Images: images})
//	switch result.Decision {
//	case webhook.Inject:
//		patch, err := podpatch.Between(pod, result.Pod)
//		…
//	case webhook.Refuse:
//		return errors.New(result.Message)
//	}
//
// # Sources of a value
//
// The sources are the operator's file, the namespace's ConfigMap, Gardener's Cluster,
// and the pod's annotations. A later source overrides an earlier one, value by value.
// Package options renders the flags of both containers, and the programs parse them
// with the same package. So values that they would refuse are refused here.
//
// # Repeated calls
//
// kube-apiserver calls again after another webhook has changed the pod. That webhook's
// changes to our containers stay, except changes to the redirect. What the pod's author
// has written under our names is replaced. managedFields tell which of the two it was,
// see [Request].
//
// # Fail closed
//
// A pod whose label asks for the shoot but that gets no redirect would send the shoot's
// traffic to the seed's network. So what cannot be done is refused, in a sentence, and
// never done in part. Such a pod is left alone only if a configuration says "inject:
// disabled". The decision has a reason of its own, and a warning for the pod's author.
package webhook
