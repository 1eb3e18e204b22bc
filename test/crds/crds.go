// SPDX-License-Identifier: Apache-2.0

// Package crds pins the modules whose CustomResourceDefinitions the tests of
// test/kube install. They are in a module of their own, for they need other versions
// of what all of Kubernetes is built with, and would have it compiled again.
//
// Nothing here is run: the tests read files of these modules where Go keeps them. The
// imports make `go mod tidy` keep the modules.
package crds

import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/assets"
)
