// SPDX-License-Identifier: Apache-2.0

// Package egressselector proves that --egress-selector-config-file of
// proxy-client means what the flag of the same name means to kube-apiserver.
//
// The product has a small strict struct of its own, since it links nothing of
// k8s.io. The tests here compare it with k8s.io/apiserver, for each version of
// EgressSelectorConfiguration: the fields, what they do, and which files are
// accepted and which refused. Where we differ on purpose, the table says why.
//
// It has no code of its own, nothing imports it, and it is a module of its own
// so that Kubernetes' dependencies stay out of the product's. A new release of
// Kubernetes is met with
//
//	go get k8s.io/apiserver@VERSION && go mod tidy && go test ./...
//
// and whatever it added to the configuration fails by name.
package egressselector
