// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	// sockDiagByFamily is SOCK_DIAG_BY_FAMILY (linux/sock_diag.h), the type of
	// requests and answers.
	sockDiagByFamily = 20
	// exactBuffer holds the answer to a request for one socket: a struct
	// inet_diag_msg and a handful of attributes, or an error that repeats the
	// request.
	exactBuffer = 512
	// dumpBuffer is the most that the kernel puts into one piece of a dump
	// (netlink_dump in net/netlink/af_netlink.c).
	dumpBuffer = 32 << 10
)

// ask sends a request to the kernel, with flags beside NLM_F_REQUEST, and returns
// the payloads of its answers. An error that the kernel answers is a wrapped
// unix.Errno.
//
// The socket lives as long as the question. A general netlink library opens it
// through the runtime's poller and reads into 64 KiB of stack, for which the
// goroutine's has to grow, and takes twice as long.
func ask(r request, flags uint16) ([][]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was left to say
	message := make([]byte, 0, unix.NLMSG_HDRLEN+requestLen)
	message = binary.NativeEndian.AppendUint32(message, uint32(cap(message)))
	message = binary.NativeEndian.AppendUint16(message, sockDiagByFamily)
	message = binary.NativeEndian.AppendUint16(message, unix.NLM_F_REQUEST|flags)
	message = append(message, make([]byte, 8)...) // the only request of its socket, whatever that is called
	if err := unix.Sendto(fd, r.appendTo(message), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	size := exactBuffer
	if flags&unix.NLM_F_DUMP != 0 {
		size = dumpBuffer
	}
	return receive(fd, size, flags&unix.NLM_F_DUMP != 0)
}

// receive reads the answers to the one request that was sent on fd. The kernel
// makes them while it takes the request, or for the further pieces of a dump while
// they are read, so there is nothing to wait for.
func receive(fd, size int, dump bool) (msgs [][]byte, err error) {
	buf := make([]byte, size)
	for {
		n, _, flags, from, err := unix.Recvmsg(fd, buf, nil, unix.MSG_DONTWAIT)
		switch sender, ok := from.(*unix.SockaddrNetlink); {
		case errors.Is(err, unix.EINTR): // a signal
			continue
		case err != nil:
			return nil, os.NewSyscallError("recvmsg", err)
		case !ok || sender.Pid != 0:
			continue // not from the kernel
		case flags&unix.MSG_TRUNC != 0:
			return nil, fmt.Errorf("an answer of more than %d bytes", size)
		}
		payloads, done, err := parse(buf[:n])
		if err != nil {
			return nil, err
		}
		msgs = append(msgs, payloads...)
		if done || !dump {
			return msgs, nil
		}
		buf = make([]byte, size) // msgs refers to the old one
	}
}

var errInterrupted = errors.New("the sockets changed while they were listed")

// parse splits a piece of the kernel's answer into the payloads of its messages
// (netlink(7)). done says that a dump ends with it.
func parse(b []byte) (payloads [][]byte, done bool, err error) {
	for len(b) >= unix.NLMSG_HDRLEN {
		length := int(binary.NativeEndian.Uint32(b))
		kind, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
		if length < unix.NLMSG_HDRLEN || length > len(b) {
			return nil, false, fmt.Errorf("a message of %d bytes in %d", length, len(b))
		}
		payload := b[unix.NLMSG_HDRLEN:length]
		switch {
		case flags&unix.NLM_F_DUMP_INTR != 0:
			return nil, false, errInterrupted
		case kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE:
			if len(payload) >= 4 {
				if code := int32(binary.NativeEndian.Uint32(payload)); code < 0 {
					return nil, false, unix.Errno(-code)
				}
			}
			return payloads, true, nil
		case kind == sockDiagByFamily:
			payloads = append(payloads, payload)
		}
		b = b[min(len(b), (length+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
	}
	return payloads, false, nil
}
