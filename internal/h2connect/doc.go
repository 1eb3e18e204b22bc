// SPDX-License-Identifier: Apache-2.0

// Package h2connect carries connections as streams of HTTP/2 CONNECT (RFC 9113, section
// 8.5), on the HTTP/2 connection of package http2wire. It is the client.
//
//	c := h2connect.New(conn, socket, h2connect.Config{UserAgent: "shoot-proxy", Quota: held})
//	go c.Run()                           // reads until the connection ends
//	if err := c.Ready(ctx); err != nil { // the proxy speaks HTTP/2
//		return err
//	}
//	s, err := c.Dial(ctx, "10.0.0.1:9100") // a *Refusal says why the proxy did not serve it
//
// # Streams
//
// A Stream is a tunnel.Carrier with all traits. END_STREAM is a half-close in both
// directions. A reset of the target arrives as RST_STREAM with CONNECT_ERROR, and Abort
// sends one. An idle Stream has no goroutine and no buffer.
//
// # Memory
//
// The connection is always read at once. Bytes that were not received wait in their
// stream, and its window bounds them: 256 KiB at first. The window grows while the caller
// takes all that comes, and above 1 MiB only if the path gets faster by it. If the quota becomes scarce, the
// windows of all streams become narrow, also those that the proxy may already use. No
// stream is ever reset for its memory.
//
// # Dead peers
//
// A peer that is silent is asked by PING. If it does not answer either, the connection
// ends, and its streams with an error.
//
// # What it never does
//
// It dials nothing twice. A dial that the proxy has not processed fails with
// ErrUnprocessed, and its caller can repeat it on another connection.
package h2connect
