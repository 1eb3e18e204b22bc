// SPDX-License-Identifier: Apache-2.0

// Package connectmode dials through the HTTP CONNECT frontend of a proxy-server.
//
// It owns the connection of each dial: the request, the meaning of the answer
// (head.go), bytes of the target that come before a late answer, and the end of the
// stream (connection.go). A Dialer has one endpoint, and connects through its Owner.
//
// It does not know which endpoint a dial should use, nor what a failure says about the
// endpoint.
package connectmode
