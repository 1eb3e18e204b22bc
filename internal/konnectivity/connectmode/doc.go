// SPDX-License-Identifier: Apache-2.0

// Package connectmode dials through the HTTP CONNECT frontend of a proxy-server.
//
// It owns one connection for each dial: the request and what the answer means (head.go),
// the target's bytes ahead of a late answer, the end of the stream (connection.go), and
// connections that are ready-made for the dials to come (spares.go). A Dialer has one
// endpoint, and connects through its Owner.
//
// It knows neither which endpoint a dial should go to, nor what its failure says about
// the endpoint.
package connectmode
