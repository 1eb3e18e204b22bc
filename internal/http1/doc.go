// SPDX-License-Identifier: Apache-2.0

// Package http1 has what HTTP/1.1 CONNECT is made of, whoever answers it: the request, the
// answer, and the greeting that tells what a server is.
//
//	_, err := io.WriteString(conn, http1.ConnectRequest("100.64.3.7:9100"))
//	answer, state := http1.Parse(received, ended) // again with more, until it is complete
//
// It owns the syntax of answers (RFC 9112), their ends, and the meaning of the first bytes
// of a server that speaks something else. It does not know what a status means for a dial:
// packages connectmode and httpsproxy do.
package http1
