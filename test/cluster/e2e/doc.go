// SPDX-License-Identifier: Apache-2.0

// Package e2e has the tests of the product in two whole clusters, and no other code.
// Package clustertest describes what they use.
package e2e
