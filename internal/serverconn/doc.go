// SPDX-License-Identifier: Apache-2.0

// Package serverconn makes one connection to a proxy-server.
//
// It owns TCP and TLS up to the protocol that ALPN chose, what their errors mean to a
// person, and how such a connection is read, written and ended:
//
//   - Connector has what all connections share, and Endpoint is one address of a server.
//   - Endpoint.Connect returns a connection with a finished handshake (connect.go). Its
//     error is a *tunnel.Error that says what to do (tlserror.go, shortage.go).
//   - A connection on which the server's kernel acknowledges nothing is ended
//     (ackwatch.go). TCP keepalive asks on the others.
//   - Conn reads and writes in large pieces (conn.go, on socket.go).
//   - SayLast ends a connection so that the server keeps no state (lastwords.go).
//
// It speaks no protocol above TLS, chooses among no servers, and tries nothing twice.
package serverconn
