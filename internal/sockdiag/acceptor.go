// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Acceptor returns the local address of the TCP socket that has accepted a connection from
// from, a socket's own address. Both are in this network namespace. It returns false if
// there is none: then the connection has left the namespace.
//
// Of a connection that a rule has redirected, the address shows where to.
func Acceptor(from netip.AddrPort) (netip.AddrPort, bool, error) {
	// A socket for both families has an IPv6 address that stands for an IPv4 address.
	for _, any := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		msgs, err := query(request{netip.AddrPortFrom(any, 0), netip.AddrPortFrom(any, from.Port()), accepted}, unix.NLM_F_DUMP)
		if errors.Is(err, unix.ENOENT) {
			continue // the kernel has no such family
		}
		if err != nil {
			return netip.AddrPort{}, false, fmt.Errorf("asking sock_diag who has accepted the connection from %s: %w", from, err)
		}
		for _, msg := range msgs {
			if len(msg) < answerLen {
				continue
			}
			local, remote := addresses(msg)
			if remote == netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) {
				return local, true, nil
			}
		}
	}
	return netip.AddrPort{}, false, nil
}

// accepted is the mask of the states of a socket that a connection has and that its other
// end has not closed: ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT (net/tcp_states.h).
const accepted = 1<<1 | 1<<4 | 1<<5 | 1<<8
