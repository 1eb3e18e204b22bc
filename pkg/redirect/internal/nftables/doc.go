// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package nftables reads the chains and rules of nf_tables that iptables cannot show.
//
// It owns the netlink request for chains, and the JSON of nft(8). It never changes
// anything: the rules of this project are those of package iptables.
package nftables
