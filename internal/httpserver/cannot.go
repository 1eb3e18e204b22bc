// SPDX-License-Identifier: Apache-2.0

package httpserver

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// CannotListen returns the error of an address that a flag has named, and on which listening
// failed with err. It says what to do about the cause. It fits any listener of TCP.
func CannotListen(flag, address string, err error) error {
	cause, next := err, "choose another address"
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		cause, next = fmt.Errorf("look up %s: %s", dns.Name, dns.Err), "write an address of this pod, or leave the host out for all of them"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		cause = errno
		switch errno {
		case syscall.EADDRINUSE:
			next = "end the process that has the port, or choose another port"
		case syscall.EADDRNOTAVAIL:
			next = "no device here has this address: write one that this pod has, or leave the host out for all of them"
		case syscall.EAFNOSUPPORT:
			next = "the kernel lacks this IP family: write an address of the other one"
		case syscall.EACCES:
			next = "ports below 1024 are for privileged processes: choose another port"
		}
	}
	return fmt.Errorf("%s %q cannot be listened on: %w: %s", flag, address, cause, next)
}
