// SPDX-License-Identifier: Apache-2.0

// Package sockio makes the system calls on sockets that package net does not offer.
//
// It owns reads that take memory only if bytes have arrived, writes that never wait,
// and queries of a socket's state. Each of them runs through a syscall.RawConn, which
// keeps the file open meanwhile. Calls that a signal has ended are repeated. A Reader
// and a Writer allocate once, when they are made.
//
//	var w sockio.Writer
//	w.Init(raw)
//	n, err := w.TryWrite(p) // n is 0 if the kernel's buffer is full
//
// It holds no bytes, never opens or closes a socket, and knows nothing about the peer.
package sockio
