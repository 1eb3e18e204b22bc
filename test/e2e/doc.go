// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the end-to-end tests: unmodified clients in a pod, the
// product's own binaries, the unmodified upstream server and agent, and servers
// in the shoot, all of it in a [lab.Lab]. It has no code but tests.
//
//	REQUIRE_ROOT=1 go test ./e2e            everything
//	go test -short ./e2e                    smaller transfers, no minute of Prometheus
//
// Each lab first runs the control experiment: without the product, nothing in
// the shoot can be reached. What follows therefore went through the tunnel.
package e2e
