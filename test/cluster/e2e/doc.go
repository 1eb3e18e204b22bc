// SPDX-License-Identifier: Apache-2.0

// Package e2e has the tests of the product in two whole clusters; see package clustertest
// for what they use. It has no code of its own.
package e2e
