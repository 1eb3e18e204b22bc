// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package iptables runs the iptables programs of both backends.
//
// It owns the search for the programs, the lock that iptables-legacy takes, the reading
// of a listing by chain, words for how it differs from what it should be, and what each
// failure means. It never decides which rules there
// should be: a caller gives it scripts, and gets listings.
package iptables
