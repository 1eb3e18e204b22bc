// SPDX-License-Identifier: Apache-2.0

// Package dialer picks the proxy-server for each dial, and moves a dial to another if
// one fails.
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
// A configured server is a name, behind which are endpoints: each address that
// it resolves to, or its Unix socket (resolve.go follows DNS, families.go both families
// of addresses). A dial goes to the endpoint that carries least (pick.go). One that could
// not be reached, had no agent or stayed silent is set aside (setaside.go): it is
// asked last, until a handshake or a dial shows that it is back (watch.go, endpoint.go).
//
// # Protocols
//
// The dialer knows no protocol. It drives each through the interface protocol
// (protocol.go), which packages grpcmode and connectmode implement, and finds out
// which of them a server speaks: over TLS the server's ALPN answer says it, and
// without one what the server says first (server.go). Package serverconn makes the
// connections of both.
//
// # Steps of a dial
//
// Pick an endpoint, connect to it by TCP, handshake by TLS, open a stream or send
// CONNECT, and wait for the agent's dial.
//
// # What it never does
//
// It never dials a shoot address directly, never resolves a shoot name, never
// sends a byte twice: a dial moves to another server only before any byte of
// the app was sent.
package dialer
