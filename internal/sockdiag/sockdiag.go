// SPDX-License-Identifier: Apache-2.0

// Package sockdiag asks the kernel what has become of another process's TCP
// socket in the same network namespace.
//
// A FIN says that its sender will send no more. Whether it still reads, TCP
// does not tell; the kernel that holds the sender's socket does. After
// shutdown(SHUT_WR) the socket still belongs to an open file and has that
// file's inode; after close it is an orphan, without one (sock_diag(7)):
//
//	state, err := sockdiag.Lookup(app.RemoteAddr, originalDestination)
//	if state == sockdiag.Orphan { … nobody will read an answer … }
//
// No capability is needed. The package never changes a socket.
package sockdiag

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// State is what the kernel knows of a socket.
type State int

// The states.
const (
	// Unknown is a socket that was not found under its addresses. It may be gone,
	// or conntrack may have given its connection another source port.
	Unknown State = iota
	// Owned is a socket that a process holds open.
	Owned
	// Orphan is a socket that every process has closed.
	Orphan
)

// Lookup returns the state of the TCP socket that connected from local to
// remote. Its error is only of the kernel's interface: a socket that does not
// exist is Unknown.
func Lookup(local, remote netip.AddrPort) (State, error) {
	socket, err := netlink.SocketGet(tcpAddr(local), tcpAddr(remote))
	switch {
	case errors.Is(err, unix.ENOENT):
		return Unknown, nil
	case err != nil:
		return Unknown, fmt.Errorf("asking sock_diag for the socket from %s to %s: %w", local, remote, err)
	case socket.INode == 0:
		return Orphan, nil
	default:
		return Owned, nil
	}
}

func tcpAddr(a netip.AddrPort) *net.TCPAddr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
}
