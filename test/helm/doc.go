// SPDX-License-Identifier: Apache-2.0

// Package helm checks the charts of the folder charts, and the manifests of deploy, which
// are made from the webhook's chart. Its module brings helm as a tool. `make helm` builds
// it, `make chart-test` runs the tests, and `make manifests` rewrites all files that are
// made from the charts.
package helm
