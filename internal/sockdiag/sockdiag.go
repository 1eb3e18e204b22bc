// SPDX-License-Identifier: Apache-2.0

// Package sockdiag asks the kernel for the state of another process's TCP socket in the
// same network namespace, after its FIN has arrived.
//
// FIN says that the sender sends no more. TCP does not say whether it still reads, but
// the kernel that holds its socket knows. After shutdown(SHUT_WR) the socket still
// belongs to an open file and has that file's inode. After close it is an orphan and
// has no inode (sock_diag(7)):
//
//	state, err := sockdiag.Lookup(app.RemoteAddr, originalDestination)
//	if state == sockdiag.Unknown {
//		state, err = sockdiag.Search(app.RemoteAddr, originalDestination, isAnother)
//	}
//	if state == sockdiag.Orphan { … the app reads no answer … }
//
// The package needs no capability. It never changes a socket.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// State is what the kernel knows about a socket.
type State int

// The states.
const (
	// Unknown means that the socket was not found, or not for certain.
	Unknown State = iota
	// Owned means that a process holds the socket open.
	Owned
	// Orphan means that all processes have closed the socket.
	Orphan
)

// Lookup returns the state of the TCP socket that connected from local to remote and
// has sent FIN. It returns Unknown if there is no such socket. Then it may be gone. Or
// conntrack has given its connection another source port, and local is by chance the
// address of an open socket. The error is only about the kernel's interface.
//
// Lookup asks for exactly one socket, in four system calls and some microseconds.
// (netlink.SocketGet lists all sockets and compares only the ports.)
func Lookup(local, remote netip.AddrPort) (State, error) {
	msgs, err := query(request{local, remote, anyState}, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return Unknown, nil
	case err == nil:
		var state State
		if state, err = parseOne(msgs); err == nil {
			return state, nil
		}
	}
	return Unknown, fmt.Errorf("asking sock_diag for the socket from %s to %s: %w", local, remote, err)
}

// parseOne parses the answer to a request for one socket.
func parseOne(msgs [][]byte) (State, error) {
	if len(msgs) != 1 || len(msgs[0]) < answerLen {
		return Unknown, fmt.Errorf("%d answers, want one of at least %d bytes", len(msgs), answerLen)
	}
	if 1<<msgs[0][answerState]&finSent == 0 {
		return Unknown, nil
	}
	return stateOf(msgs[0]), nil
}

// Search returns the state of a socket that has sent FIN, if Lookup does not find it
// because conntrack has changed its source port. It reads all sockets from local's
// address to remote that have sent FIN. known reports ports that belong to other
// connections; these are left out.
//
// If the remaining sockets are all orphans, the result is Orphan. If all are owned, it
// is Owned. If only some are orphans, it is Unknown.
//
// If no socket remains, the result is Orphan too. But if one of the sockets that were
// left out is owned, it is Unknown, because that one may be ours after all.
//
// Search reads all of the kernel's TCP sockets, which takes milliseconds.
func Search(local, remote netip.AddrPort, known func(port uint16) bool) (State, error) {
	msgs, err := query(request{netip.AddrPortFrom(local.Addr(), 0), remote, finSent}, unix.NLM_F_DUMP)
	if err == nil {
		var state State
		if state, err = classify(msgs, local, remote, known); err == nil {
			return state, nil
		}
	}
	return Unknown, fmt.Errorf("asking sock_diag for the sockets from %s to %s: %w", local.Addr(), remote, err)
}

// classify computes the result of Search from the answers to a request for all sockets.
func classify(msgs [][]byte, local, remote netip.AddrPort, known func(port uint16) bool) (State, error) {
	var owned, orphans, others int
	for _, msg := range msgs {
		if len(msg) < answerLen {
			return Unknown, fmt.Errorf("an answer of %d bytes, want at least %d", len(msg), answerLen)
		}
		// The kernel has compared only the ports.
		from, to := addresses(msg)
		if from.Addr() != local.Addr().Unmap() || to.Addr() != remote.Addr().Unmap() {
			continue
		}
		switch isOwned := stateOf(msg) == Owned; {
		case known(from.Port()) && isOwned:
			others++
		case known(from.Port()):
		case isOwned:
			owned++
		default:
			orphans++
		}
	}
	switch {
	case owned == 0 && (orphans > 0 || others == 0):
		return Orphan, nil
	case owned == 0:
		return Unknown, nil
	case orphans == 0:
		return Owned, nil
	default:
		return Unknown, nil
	}
}

// stateOf reads a struct inet_diag_msg. The caller has checked its length.
func stateOf(msg []byte) State {
	if binary.NativeEndian.Uint32(msg[answerInode:]) == 0 {
		return Orphan
	}
	return Owned
}

// addresses reads the socket's addresses from a struct inet_diag_msg.
func addresses(msg []byte) (local, remote netip.AddrPort) {
	size := 4
	if msg[0] == unix.AF_INET6 {
		size = 16
	}
	at := func(port, addr int) netip.AddrPort {
		a, _ := netip.AddrFromSlice(msg[addr : addr+size])
		return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(msg[port:]))
	}
	return at(4, 8), at(6, 24)
}

// Masks of TCP states, with the numbers of the enum in net/tcp_states.h.
const (
	anyState = ^uint32(0)
	// finSent is FIN_WAIT1, FIN_WAIT2, TIME_WAIT and CLOSING. A socket is in one of
	// them after the other side has got its FIN, and before the other side has sent
	// one.
	finSent = 1<<4 | 1<<5 | 1<<6 | 1<<11
)

// Sizes and offsets of struct inet_diag_req_v2 and struct inet_diag_msg
// (linux/inet_diag.h).
const (
	requestLen  = 56
	answerLen   = 72
	answerState = 1
	answerInode = 68
)

// request is a struct inet_diag_req_v2 for TCP sockets.
type request struct {
	local, remote netip.AddrPort
	states        uint32
}

// appendTo appends the structure to b.
func (r request) appendTo(b []byte) []byte {
	local, remote := r.local.Addr().Unmap(), r.remote.Addr().Unmap()
	family := byte(unix.AF_INET)
	if local.Is6() {
		family = unix.AF_INET6
	}
	b = append(b, family, unix.IPPROTO_TCP, 0, 0)
	b = binary.NativeEndian.AppendUint32(b, r.states)
	b = binary.BigEndian.AppendUint16(b, r.local.Port())
	b = binary.BigEndian.AppendUint16(b, r.remote.Port())
	b = appendAddr(appendAddr(b, local), remote)
	b = binary.NativeEndian.AppendUint32(b, 0)             // any interface
	return binary.NativeEndian.AppendUint64(b, ^uint64(0)) // INET_DIAG_NOCOOKIE
}

// appendAddr appends a as an array of 16 bytes. An IPv4 address uses the first four.
func appendAddr(b []byte, a netip.Addr) []byte {
	var array [16]byte
	if a.Is4() {
		a4 := a.As4()
		copy(array[:], a4[:])
	} else {
		array = a.As16()
	}
	return append(b, array[:]...)
}
