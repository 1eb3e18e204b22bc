// SPDX-License-Identifier: Apache-2.0

// Package serverconn makes one connection to a proxy-server.
//
// It owns TCP and TLS up to the protocol that ALPN chose, what their errors mean to a
// person, and how such a connection is read, written and ended:
//
//   - A Connector has what all connections share. An Endpoint is one address of a server.
//   - Endpoint.Connect connects and does the handshake (connect.go). Its error is a
//     *tunnel.Error that says what to do (tlserror.go, shortage.go).
//   - A connection on which the server's kernel acknowledges nothing is ended
//     (ackwatch.go). TCP keepalive checks the others.
//   - Conn reads and writes in large pieces (conn.go, on socket.go).
//   - EndWriting ends a connection so that the server keeps no state, and Abort resets it
//     (endwriting.go).
//
// It speaks no protocol above TLS, chooses no server, and tries nothing twice.
package serverconn
