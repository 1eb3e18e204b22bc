// SPDX-License-Identifier: Apache-2.0

// Package exitserver is the exit: an HTTP/2 server that connects clients to the
// destinations that a policy allows them.
//
// Each CONNECT request (RFC 9113 8.5) is one TCP connection to a target. END_STREAM is a
// FIN, and RST_STREAM is a reset, in both directions. A target that is slow, or a client
// that is, delays its own stream only. A refusal is a status with Proxy-Status (RFC 9209).
//
// Clients have to show a certificate, over TLS 1.3. Connections, streams and memory
// are bounded, in total and for each client. Bytes that wait for a target are bounded by
// windows.
//
//	server := exitserver.New(exitserver.Config{
//		Listener:     listener,
//		Certificates: certificates,
//		Policy:       policy.Current,
//		…
//	})
//	err := server.Run(ctx) // until ctx ends, and then until the streams have
//
// It reads no file but the policy's, and knows no flag. What is allowed is decided by
// package exitpolicy.
package exitserver
