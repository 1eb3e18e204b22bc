// SPDX-License-Identifier: Apache-2.0

// Package tunnel is the contract between the programs that use a tunnel into the
// shoot and the packages that make one.
//
// It owns what both sides name: a Conn to a target, the Dialer that makes it, the
// Error of a dial with its Reason, and the Server, Mode and TLS files of a
// configuration. Package dialer implements it; proxy and relay use it.
//
// # What a Conn promises
//
// Receive returns the target's bytes in order and complete. It ends with io.EOF
// only if the proxy-server said that the target closed. Whatever else ends it
// is ErrBroken, ErrProtocol or ErrUnreceived, so that half an answer is never taken
// for a whole one. There is no half-close, because the protocol has none: Close
// closes both directions, and the relay holds an app's FIN back.
//
// It knows no protocol, opens no connection and reads no file.
package tunnel
