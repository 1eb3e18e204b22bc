// SPDX-License-Identifier: Apache-2.0

// Package dialer picks the proxy-server for each dial, and moves a dial to another
// server if one fails.
//
//	d, err := dialer.New(dialer.Config{Servers: servers, TLS: tls, CIDRs: cidrs, DialTimeout: 8 * time.Second, Keepalive: 5 * time.Second, …})
//	go d.Run(ctx)                       // connects ahead of the first dial, watches the servers
//	conn, err := d.DialContext(ctx, netip.MustParseAddrPort("100.64.3.7:9100"), nil)
//	if err != nil {
//		log.Warn("dial failed", "reason", tunnel.ReasonOf(err), "error", err)
//	}
//
// # Servers and endpoints
//
// A configured server is a name. Its endpoints are the addresses that the name resolves
// to, or its Unix socket (resolve.go, families.go). A dial goes to the endpoint with the
// least load (pick.go). An endpoint that could not be reached, had no agent or stayed
// silent is set aside (setaside.go). Dials try it last, until a handshake or a dial shows
// that it is back (watch.go, endpoint.go).
//
// # Protocols
//
// The dialer knows no protocol. It drives each through the interface protocol
// (protocol.go), which packages grpcmode and connectmode implement. It finds out which of
// them a server speaks (server.go). Over TLS the server's ALPN answer tells. Without such
// an answer, the first bytes of the server do. Package serverconn makes the connections
// of both.
//
// # Steps of a dial
//
// These words have one meaning in code, comments and logs:
//
//   - Pick: choose an endpoint.
//   - Connect: make a TCP connection to it, or one to its Unix socket.
//   - Handshake: agree on TLS, and by ALPN on a protocol.
//   - Open: start a stream on a connection that many share, in gRPC mode.
//   - Dial: ask the server for a destination, and wait for the agent's answer. The whole
//     of these steps is also called a dial.
//
// A check is a connect and a handshake without a dial. It shows whether an endpoint can
// be reached, and which protocol its server speaks.
//
// # What it never does
//
// It never dials a shoot address directly and never resolves a shoot name. It sends no
// byte twice: a dial moves to another server only before any byte of the app was sent.
package dialer
