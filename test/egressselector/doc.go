// SPDX-License-Identifier: Apache-2.0

// Package egressselector proves that --egress-selector-config-file of proxy-client means
// the same as the flag of that name of kube-apiserver.
//
// The product has a small strict struct of its own, since it links no package of k8s.io.
// The tests here compare it with k8s.io/apiserver, for each version of
// EgressSelectorConfiguration. They compare the fields, their effects, and which files
// are accepted and which refused. If we differ on purpose, the table says why.
//
// It has no other code, and no package imports it. It is a module of its own so that
// Kubernetes' dependencies stay out of the product's. For a new release of Kubernetes,
// run
//
//	go get k8s.io/apiserver@VERSION && go mod tidy && go test ./...
//
// The failures name whatever the release added to the configuration.
package egressselector
