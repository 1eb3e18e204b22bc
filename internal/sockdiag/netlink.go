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
	// sockDiagByFamily is SOCK_DIAG_BY_FAMILY (linux/sock_diag.h), the type of requests
	// and answers.
	sockDiagByFamily = 20
	// exactBufferBytes is enough for the answer to a request for one socket. This is a
	// struct inet_diag_msg with a few attributes, or an error that repeats the request.
	exactBufferBytes = 512
	// dumpBufferBytes is the most that the kernel puts into one part of a dump
	// (netlink_dump in net/netlink/af_netlink.c).
	dumpBufferBytes = 32 << 10
)

// query sends a request to the kernel, with flags in addition to NLM_F_REQUEST. It
// returns the payloads of the answers. If the kernel answers with an error, query
// returns it as a wrapped unix.Errno.
//
// Each query opens and closes its socket. A general netlink library takes twice as
// long: it opens the socket through the runtime's poller, and reads into 64 KiB on the
// stack, so that the goroutine's stack must grow.
func query(r request, flags uint16) ([][]byte, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd) // nothing can be lost
	message := make([]byte, 0, unix.NLMSG_HDRLEN+requestLen)
	message = binary.NativeEndian.AppendUint32(message, uint32(cap(message)))
	message = binary.NativeEndian.AppendUint16(message, sockDiagByFamily)
	message = binary.NativeEndian.AppendUint16(message, unix.NLM_F_REQUEST|flags)
	message = append(message, make([]byte, 8)...) // sequence number and port ID are 0: the socket has only this request
	if err := unix.Sendto(fd, r.appendTo(message), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, os.NewSyscallError("sendto", err)
	}
	size := exactBufferBytes
	if flags&unix.NLM_F_DUMP != 0 {
		size = dumpBufferBytes
	}
	return receive(fd, size, flags&unix.NLM_F_DUMP != 0)
}

// receive reads the answers to the one request that was sent on fd. The kernel writes
// an answer while it processes the request, and each further part of a dump while the
// part before is read. So receive never waits.
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
		payloads, done, err := parseMessages(buf[:n])
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

// parseMessages splits one part of the kernel's answer into the payloads of its
// messages (netlink(7)). done reports that this part ends the dump.
func parseMessages(b []byte) (payloads [][]byte, done bool, err error) {
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
