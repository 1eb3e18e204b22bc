// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package explain says in words what the rules of a pod do, ours and those of other
// programs, and what becomes of a connection.
//
// It owns the words, the likely owner of a rule, and the choice of connections by which it
// finds out whether the shoot's connections reach the sidecar. It changes nothing and sends
// nothing: package netfilter follows the connections through the rules.
package explain
