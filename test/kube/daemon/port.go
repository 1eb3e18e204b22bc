// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
)

// Port is a TCP port of 127.0.0.1 that is reserved. The kernel gives it to no program
// that asks for any port. A program that asks for this port gets it. A free port that was
// found can therefore never be lost. A program that is stopped and started again gets its
// port again.
//
// It is a socket that is bound and never listens. Linux lets another socket bind to the
// same port, and listen, if both have SO_REUSEADDR (inet_csk_bind_conflict). Package net
// sets that for every listener. Connections to a port without a listener are refused as
// usual.
type Port struct {
	fd     int
	number uint16
}

// HoldPort finds a free port and reserves it.
func HoldPort() (*Port, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hold a port: socket: %w", err)
	}
	number, err := bind(fd)
	if err != nil {
		_ = syscall.Close(fd)
		return nil, fmt.Errorf("hold a port: %w", err)
	}
	return &Port{fd: fd, number: number}, nil
}

func bind(fd int) (uint16, error) {
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return 0, fmt.Errorf("SO_REUSEADDR: %w", err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, fmt.Errorf("bind: %w", err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, fmt.Errorf("getsockname: %w", err)
	}
	in4, ok := sa.(*syscall.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("getsockname: %T is no IPv4 address", sa)
	}
	return uint16(in4.Port), nil
}

// Address returns 127.0.0.1 with the port.
func (p *Port) Address() string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), p.number).String()
}

// String returns the port's number.
func (p *Port) String() string { return strconv.Itoa(int(p.number)) }

// Release gives the port back. It may be called once.
func (p *Port) Release() { _ = syscall.Close(p.fd) }
