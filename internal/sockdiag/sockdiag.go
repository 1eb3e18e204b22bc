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
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
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
//
// It looks up exactly one socket. (netlink.SocketGet dumps all of them and
// compares the ports alone.)
func Lookup(local, remote netip.AddrPort) (State, error) {
	req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	req.AddData(request{local, remote})
	msgs, err := req.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	switch {
	case errors.Is(err, unix.ENOENT):
		return Unknown, nil
	case err != nil:
		return Unknown, fmt.Errorf("asking sock_diag for the socket from %s to %s: %w", local, remote, err)
	case len(msgs) != 1 || len(msgs[0]) < answerLen:
		return Unknown, fmt.Errorf("asking sock_diag for the socket from %s to %s: %d answers, want one of at least %d bytes", local, remote, len(msgs), answerLen)
	}
	if binary.NativeEndian.Uint32(msgs[0][answerInode:]) == 0 {
		return Orphan, nil
	}
	return Owned, nil
}

// Layouts of struct inet_diag_req_v2 and struct inet_diag_msg
// (linux/inet_diag.h).
const (
	requestLen  = 56
	answerLen   = 72
	answerInode = 68
)

// request is a struct inet_diag_req_v2 for one TCP socket.
type request struct{ local, remote netip.AddrPort }

// Len implements nl.NetlinkRequestData.
func (r request) Len() int { return requestLen }

// Serialize implements nl.NetlinkRequestData.
func (r request) Serialize() []byte {
	local, remote := r.local.Addr().Unmap(), r.remote.Addr().Unmap()
	b := make([]byte, 0, requestLen)
	family := byte(unix.AF_INET)
	if local.Is6() {
		family = unix.AF_INET6
	}
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(0)) // any state
	b = binary.BigEndian.AppendUint16(b, r.local.Port())
	b = binary.BigEndian.AppendUint16(b, r.remote.Port())
	b = append(append(b, local.AsSlice()...), make([]byte, 16-local.BitLen()/8)...)
	b = append(append(b, remote.AsSlice()...), make([]byte, 16-remote.BitLen()/8)...)
	b = binary.NativeEndian.AppendUint32(b, 0)             // any interface
	return binary.NativeEndian.AppendUint64(b, ^uint64(0)) // INET_DIAG_NOCOOKIE
}
