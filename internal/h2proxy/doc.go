// SPDX-License-Identifier: Apache-2.0

// Package h2proxy dials through one endpoint of a standard proxy that speaks HTTP/2
// CONNECT (RFC 9113, section 8.5), such as Envoy or nghttpx.
//
// It owns the connections to the proxy, which many streams share, and the meaning of a
// refusal. Package h2connect has the streams. A proxy allows a number of streams on each
// connection; if they are all used, a further connection is made.
//
// It knows no other endpoint, and nothing of the standing of its own.
package h2proxy
