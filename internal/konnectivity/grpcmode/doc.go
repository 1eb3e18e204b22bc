// SPDX-License-Identifier: Apache-2.0

// Package grpcmode dials through the gRPC frontend of a proxy-server.
//
// A connection is one Proxy stream (stream.go, arrive.go, part.go) on an HTTP/2
// connection that many share, the link (link.go). A Dialer has the links of one
// endpoint. If a server allows few streams on a link, the Dialer makes further ones
// (links.go). It makes sure that the server is the one that is meant, and says what it is
// otherwise (identify.go). What has arrived and was not received waits in an inbox.
//
// It is the only importer of konnectivity-client, of which it uses the generated
// messages and the metrics: upstream's own connection type stalls, loses early bytes
// and reports a broken tunnel as a clean end of file.
//
// It knows neither which endpoint a dial should go to, nor what its failure says about
// the endpoint. It connects through its Owner.
package grpcmode
