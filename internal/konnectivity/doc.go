// SPDX-License-Identifier: Apache-2.0

// Package konnectivity has what both modes of upstream's proxy-server have in common.
//
// It owns the texts with which proxy-server and agent refuse a dial, and their meaning
// (Classify). It owns the error of a dial that was given up, and the time that a close
// is waited for. The modes are the packages grpcmode and connectmode below it.
//
// It opens no connection and imports nothing of upstream.
package konnectivity
