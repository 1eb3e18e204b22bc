// SPDX-License-Identifier: Apache-2.0

// Package serve is an admission webhook for pods that are created: it connects package
// webhook with kube-apiserver.
//
// It owns the AdmissionReview, the certificates and the metrics. It also owns the
// sources in the cluster (namespaces, ConfigMaps, Gardener's Cluster resources, nodes),
// and the operator's file and its changes. Package webhook decides about a pod.
//
//	err := serve.Run(ctx, serve.Config{
//		Cluster: restConfig, ConfigFile: "/etc/webhook/config.yaml", Images: images,
//		ListenAddress: ":9443", HealthAddress: ":8081", CertDir: "/certs",
//		Logger: logger,
//	})
//
// # What it never does
//
// It changes nothing in the cluster except its own certificate, if it manages that. An
// admission has no side effects, so a dry run is like any other request.
//
// It never lets a pod pass because a source could not be read. A pod that asks for the
// shoot and gets no redirect would connect to the seed's network.
//
// # How fresh the sources are
//
// Namespaces and nodes are watched. ConfigMaps and Clusters are read when a pod needs
// them, because that requires only the right to get some of them by name. They are
// cached for seconds: see [ConfigMapAge] and [ClusterAge].
package serve
