// SPDX-License-Identifier: Apache-2.0

// Package tunneltest turns the errors that the contract of package tunnel promises into
// words, which tests compare.
//
// It judges no error. Nothing but tests imports it.
package tunneltest

import (
	"errors"
	"io"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Words returns the kind of err, as far as the contract promises one.
func Words(err error) string {
	if e, ok := errors.AsType[*tunnel.Error](err); ok {
		if e.Fault.Elsewhere() {
			return string(e.Reason) + ", elsewhere"
		}
		return string(e.Reason)
	}
	isBroken, isProtocol := errors.Is(err, tunnel.ErrBroken), errors.Is(err, tunnel.ErrProtocol)
	switch {
	case err == io.EOF:
		return "end"
	case err == tunnel.ErrClosed:
		return "closed"
	case isBroken && !isProtocol:
		return "broken"
	case isProtocol && !isBroken:
		return "protocol"
	default:
		return "unclassified: " + err.Error()
	}
}
