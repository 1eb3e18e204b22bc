// SPDX-License-Identifier: Apache-2.0

// Package serve is the edge of package webhook towards kube-apiserver: an admission
// webhook for pods that are created.
//
// It owns the AdmissionReview, the certificates, the sources that live in the cluster
// (namespaces, ConfigMaps, Gardener's Cluster resources, nodes), the operator's file
// as it changes, and the metrics. What becomes of a pod is package webhook's to say.
//
//	err := serve.Run(ctx, serve.Config{
//		Cluster: restConfig, ConfigFile: "/etc/webhook/config.yaml", Images: images,
//		ListenAddress: ":9443", HealthAddress: ":8081", CertDir: "/certs",
//		Logger: logger,
//	})
//
// # What it never does
//
// It changes nothing in the cluster but its own certificate, where it manages that:
// an admission has no side effects, so a dry run is like any other. It never lets a
// pod through because a source could not be read: a pod that asks for the shoot and
// gets no redirect would talk to the seed's network.
//
// # How fresh the sources are
//
// Namespaces and nodes are watched. ConfigMaps and Clusters are read when a pod needs
// them, since the right to get some by name is all that this takes, and remembered
// for moments: see [ConfigMapAge] and [ClusterAge].
package serve
