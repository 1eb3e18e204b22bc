// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package ruletext reads rules into the model of package netfilter.
//
// It owns two notations: what `iptables -v -S` prints, and the JSON of nft(8) with its text
// beside it. A condition or target that it does not know becomes one whose answer is
// unknown. It runs no program and asks no kernel.
package ruletext
