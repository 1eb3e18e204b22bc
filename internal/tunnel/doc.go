// SPDX-License-Identifier: Apache-2.0

// Package tunnel is the contract between the programs that use a tunnel into the
// shoot and the packages that make one.
//
// It owns the types that both sides use: a Conn to a target, the Dialer that makes it,
// and the Error of a dial with its Reason. It also owns the Server, Mode and TLS files of
// a configuration, and the names of settings for errors. Package dialer implements the
// contract. Packages proxy and relay use it.
//
// # What a Conn promises
//
// Receive returns the target's bytes in order and complete. It ends with io.EOF only if
// the proxy-server said that the target closed. Any other end is ErrBroken, ErrProtocol
// or ErrUnreceived, so that a part of an answer is never taken for the whole. Over
// konnectivity there is no half-close, because the protocol has none: Close closes both
// directions, and the relay keeps back an app's FIN. A Carrier is a Conn whose way has
// half-closes, resets or backpressure, as its Traits say.
//
// The package knows no protocol and no flag, opens no connection and reads no file.
package tunnel
