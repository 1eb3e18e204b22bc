// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package netfilter says what a pod's packet filter rules do to the first packet of a
// connection.
//
// It owns the model of rules, chains and hooks, the order in which the kernel calls them,
// and the walk of a packet through them. It never asks the kernel: package ruletext reads
// rules into this model, and a [Network] answers for routes, addresses and sockets.
//
//	outcomes := netfilter.Follow(rules, network, netfilter.Packet{…})
//
// A condition that cannot be evaluated from here, such as one for a cgroup, is taken both
// ways. Then there can be more than one [Outcome], and each says what it assumes.
package netfilter
