// SPDX-License-Identifier: Apache-2.0

// Package crds pins the modules whose CustomResourceDefinitions the tests of test/kube
// install. The modules are in a module of their own. They need other versions of what all
// of Kubernetes is built with, and would cause it to be compiled again.
//
// No code here is run: the tests read files of these modules in Go's module cache. The
// imports make `go mod tidy` keep the modules.
package crds

import (
	_ "github.com/cert-manager/cert-manager/pkg/apis/certmanager"
	_ "github.com/prometheus-operator/prometheus-operator/pkg/assets"
)
