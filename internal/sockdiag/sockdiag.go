// SPDX-License-Identifier: Apache-2.0

// Package sockdiag asks the kernel what has become of another process's TCP
// socket in the same network namespace, once its FIN has arrived.
//
// A FIN says that its sender will send no more. Whether it still reads, TCP
// does not tell; the kernel that holds the sender's socket does. After
// shutdown(SHUT_WR) the socket still belongs to an open file and has that
// file's inode; after close it is an orphan, without one (sock_diag(7)):
//
//	state, err := sockdiag.Lookup(app.RemoteAddr, originalDestination)
//	if state == sockdiag.Unknown {
//		state, err = sockdiag.Search(app.RemoteAddr, originalDestination, isAnother)
//	}
//	if state == sockdiag.Orphan { … nobody will read an answer … }
//
// No capability is needed. The package never changes a socket.
package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// State is what the kernel knows of a socket.
type State int

// The states.
const (
	// Unknown is a socket that was not found, or not for certain.
	Unknown State = iota
	// Owned is a socket that a process holds open.
	Owned
	// Orphan is a socket that every process has closed.
	Orphan
)

// Lookup returns the state of the TCP socket that connected from local to remote
// and has sent FIN. It is Unknown where there is none: it may be gone, or
// conntrack may have given its connection another source port, and local is by
// chance the address of a socket that is open. The error is only of the kernel's
// interface.
//
// It looks up exactly one socket, in four system calls and some microseconds.
// (netlink.SocketGet dumps all of them and compares the ports alone.)
func Lookup(local, remote netip.AddrPort) (State, error) {
	msgs, err := ask(request{local, remote, anyState}, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return Unknown, nil
	case err == nil:
		var state State
		if state, err = one(msgs); err == nil {
			return state, nil
		}
	}
	return Unknown, fmt.Errorf("asking sock_diag for the socket from %s to %s: %w", local, remote, err)
}

// one reads the answer to a request for one socket.
func one(msgs [][]byte) (State, error) {
	if len(msgs) != 1 || len(msgs[0]) < answerLen {
		return Unknown, fmt.Errorf("%d answers, want one of at least %d bytes", len(msgs), answerLen)
	}
	if 1<<msgs[0][answerState]&finSent == 0 {
		return Unknown, nil
	}
	return stateOf(msgs[0]), nil
}

// Search is for a socket whose FIN has arrived and which Lookup does not know,
// since conntrack gave its connection another source port. It goes by what is
// left: the sockets from local's address to remote that have sent FIN, without
// those on ports that are known to be others'. Where all of them are orphans, or
// there is none, ours is gone; where only some are, it stays Unknown, and so it
// does where nothing is left but others' that are not orphans: one of them may
// be ours after all.
//
// It walks through all of the kernel's TCP sockets, which takes milliseconds.
func Search(local, remote netip.AddrPort, known func(port uint16) bool) (State, error) {
	msgs, err := ask(request{netip.AddrPortFrom(local.Addr(), 0), remote, finSent}, unix.NLM_F_DUMP)
	if err == nil {
		var state State
		if state, err = among(msgs, local, remote, known); err == nil {
			return state, nil
		}
	}
	return Unknown, fmt.Errorf("asking sock_diag for the sockets from %s to %s: %w", local.Addr(), remote, err)
}

// among reads the answers to a request for all sockets.
func among(msgs [][]byte, local, remote netip.AddrPort, known func(port uint16) bool) (State, error) {
	var owned, orphans, others int
	for _, msg := range msgs {
		if len(msg) < answerLen {
			return Unknown, fmt.Errorf("an answer of %d bytes, want at least %d", len(msg), answerLen)
		}
		// The kernel has compared the ports alone.
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

// stateOf reads a struct inet_diag_msg, whose length was checked.
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

// Masks of TCP states, by the numbers of enum in net/tcp_states.h.
const (
	anyState = ^uint32(0)
	// finSent is FIN_WAIT1, FIN_WAIT2, TIME_WAIT and CLOSING: where a socket is
	// once the other side has seen its FIN before sending one.
	finSent = 1<<4 | 1<<5 | 1<<6 | 1<<11
)

// Layouts of struct inet_diag_req_v2 and struct inet_diag_msg
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

// appendAddr appends a as an array of 16 bytes, of which an IPv4 address takes
// the first four.
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
