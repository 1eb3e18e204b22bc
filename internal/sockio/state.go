// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Control calls f with raw's file descriptor. It returns f's error, or raw's own if the
// file is closed.
func Control(raw syscall.RawConn, f func(fd int) error) error {
	var ferr error
	err := raw.Control(func(fd uintptr) { ferr = f(int(fd)) })
	return errors.Join(err, ferr)
}

// Poll returns which of events have happened on fd, without waiting (poll(2)). POLLHUP
// and POLLERR are always reported.
func Poll(fd int, events int16) (int16, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
	if _, err := retry(func() (int, error) { return unix.Poll(fds, 0) }); err != nil {
		return 0, err
	}
	return fds[0].Revents, nil
}

// Unread returns how many bytes have arrived on fd and were not read (SIOCINQ, tcp(7)).
func Unread(fd int) (int, error) { return unix.IoctlGetInt(fd, unix.SIOCINQ) }

// Unsent returns how many bytes written to raw the peer's kernel has not acknowledged
// (SIOCOUTQ, tcp(7)).
func Unsent(raw syscall.RawConn) (n int, err error) {
	cerr := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(cerr, err)
}

// TCPInfo returns the kernel's data about a TCP connection (TCP_INFO, tcp(7)).
func TCPInfo(raw syscall.RawConn) (info *unix.TCPInfo, err error) {
	cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(cerr, err)
}

// HasError reports whether the kernel has an error of a connection. A reset is one, and so is
// a peer that no longer answers. FIN in both directions is none.
func HasError(raw syscall.RawConn) (failed bool) {
	_ = Control(raw, func(fd int) error { // fails if it is closed
		events, err := Poll(fd, 0)
		failed = err == nil && events&unix.POLLERR != 0
		return err
	})
	return failed
}
