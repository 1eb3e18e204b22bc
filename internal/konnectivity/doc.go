// SPDX-License-Identifier: Apache-2.0

// Package konnectivity has what both modes of upstream's proxy-server have in common.
//
// It owns the texts with which proxy-server and agent refuse a dial, and what they mean
// (Classify), the error of a dial that was given up, and how long a close is waited
// for. The modes are grpcmode and connectmode below it.
//
// It opens no connection and imports nothing of upstream.
package konnectivity
