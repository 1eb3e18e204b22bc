// SPDX-License-Identifier: Apache-2.0

// Package dialer dials shoot addresses through konnectivity proxy-servers.
//
// It is the only package that knows the proxy-server's protocol, and the only
// importer of konnectivity-client, of which it uses the generated messages and
// the metrics: upstream's own connection type stalls, loses early bytes and
// reports a broken tunnel as a clean end of file.
//
//	d, err := dialer.New(dialer.Config{Servers: servers, TLS: tls, CIDRs: cidrs, DialTimeout: 8 * time.Second, Keepalive: 5 * time.Second, …})
//	go d.Run(ctx)                       // connects ahead of the first dial, watches the servers
//	conn, err := d.DialContext(ctx, netip.MustParseAddrPort("100.64.3.7:9100"), nil)
//	if err != nil {
//		log.Warn("dial failed", "reason", tunnel.ReasonOf(err), "error", err)
//	}
//
// # Modes
//
// A proxy-server has one frontend: gRPC, where a connection is one Proxy stream
// on an HTTP/2 connection that all share (link.go, stream.go), or HTTP CONNECT,
// where each connection has a TLS connection of its own (connect.go), which a dial
// finds ready-made while there are others before it (spares.go). Over TLS the
// server's ALPN answer says which, and mode auto believes it (server.go); without
// one, what the server says first does. A look makes sure that the server is the one
// that is meant, and says what it is otherwise (identify.go). Package serverconn makes the connections of both modes.
//
// # Servers and endpoints
//
// A configured server is a name, behind which are endpoints: each address that
// it resolves to, or its Unix socket (resolve.go follows DNS). A dial goes to
// the endpoint that carries least (pick.go). One that could not be reached, had
// no agent or stayed silent is set aside (setaside.go): it is asked last, until a
// handshake or a dial shows that it is back (watch.go, endpoint.go).
//
// # What it never does
//
// It never dials a shoot address directly, never resolves a shoot name, never
// sends a byte twice: a dial moves to another server only before any byte of
// the app was sent.
package dialer
