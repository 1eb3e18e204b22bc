// SPDX-License-Identifier: Apache-2.0

// Package grpcmode dials through the gRPC frontend of a proxy-server.
//
// It owns the connection, which is one Proxy stream (stream.go, arrive.go, end.go), and
// the link, which is an HTTP/2 connection that many streams share (link.go). A Dialer
// has the links of one endpoint. If a server allows few streams on a link, the Dialer
// makes further ones (links.go). It checks that the server is a konnectivity
// proxy-server, and otherwise says what it is (identify.go). Bytes that have arrived
// and were not received wait in an inbox.
//
// Apart from tests, it is the only importer of konnectivity-client, of which it uses the
// generated messages and the metrics. Upstream's own connection type stalls, loses early
// bytes and reports a broken tunnel as a clean end of file.
//
// It does not know which endpoint a dial should use, nor what a failure says about the
// endpoint. It connects through its Owner.
package grpcmode
