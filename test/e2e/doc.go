// SPDX-License-Identifier: Apache-2.0

// Package e2e holds the end-to-end tests, and no other code. Unmodified clients run in a
// pod with the product's own binaries, the unmodified upstream server and agent, and
// servers in the shoot. All of it is in a [lab.Lab].
//
//	REQUIRE_ROOT=1 go test ./e2e            everything
//	go test -short ./e2e                    smaller transfers, no minute of Prometheus
//
// Each lab first runs the control experiment: without the product, nothing in the shoot
// can be reached. What the tests reach afterwards therefore went through the tunnel.
package e2e
