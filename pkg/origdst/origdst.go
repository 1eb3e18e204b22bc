// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package origdst returns the original destination of a redirected TCP connection.
//
// A REDIRECT or DNAT rule of iptables or nftables can send a connection to a local
// listener. Then the accepted socket has the addresses after the translation. The kernel's
// connection tracking still knows the address to which the client connected. A socket option
// reads it:
//
//	conn, err := listener.AcceptTCP()
//	…
//	dst, err := origdst.Lookup(conn)
//	if errors.Is(err, origdst.ErrNotRedirected) {
//		// the client connected to the listener itself
//	}
//
// The kernel answers for plain TCP only. By default Go listens for Multipath TCP too, so
// switch that off with SetMultipathTCP of net.ListenConfig. Apps that ask for MPTCP fall back
// to TCP by themselves.
//
// The package owns that one question. It never dials, and it never changes the socket. It
// never duplicates the descriptor, so the connection keeps its deadlines and stays with the
// runtime's poller. It needs no privilege. The caller decides whether a destination may be
// used.
package origdst

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The socket options. golang.org/x/sys/unix does not have both. SO_ORIGINAL_DST is from
// <linux/netfilter_ipv4.h> and read at level SOL_IP, IP6T_SO_ORIGINAL_DST is from
// <linux/netfilter_ipv6/ip6_tables.h> and read at level SOL_IPV6.
const (
	soOriginalDst     = 80
	ip6tSoOriginalDst = 80
)

// ErrNotRedirected is the error of a connection that no address translation brought to its
// socket. Either connection tracking does not know the connection, or its destination there is
// the socket's own address. The error is wrapped with details, so test for it with errors.Is.
var ErrNotRedirected = errors.New("connection was not redirected")

// Lookup returns the destination to which the peer of c connected, before the kernel
// redirected the connection. c is an accepted TCP socket, usually a *net.TCPConn. The
// destination of an IPv4 connection is a plain IPv4 address, also on a dual-stack listener.
// The result has no IPv6 zone.
//
// The error wraps ErrNotRedirected if the connection was not redirected. Otherwise it wraps
// the error of the kernel or the runtime, such as net.ErrClosed.
func Lookup(c syscall.Conn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: access the socket: %w", err)
	}
	var (
		dst       netip.AddrPort
		lookupErr error
	)
	controlErr := raw.Control(func(fd uintptr) { dst, lookupErr = lookup(int(fd)) })
	if controlErr != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: use the socket: %w", controlErr)
	}
	if lookupErr != nil {
		return netip.AddrPort{}, fmt.Errorf("original destination: %w", lookupErr)
	}
	return dst, nil
}

// lookup reads the original destination of the connection of a descriptor.
func lookup(fd int) (netip.AddrPort, error) {
	local, err := localAddress(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	// The level is that of the connection, not of the socket. On a dual-stack listener an
	// IPv4 connection has an AF_INET6 socket and an IPv4 entry in conntrack, which only
	// SOL_IP finds.
	level, option := unix.SOL_IP, soOriginalDst
	if local.Addr().Is6() {
		level, option = unix.SOL_IPV6, ip6tSoOriginalDst
	}
	dst, err := originalDestination(fd, level, option)
	switch {
	case errors.Is(err, unix.ENOENT):
		return netip.AddrPort{}, fmt.Errorf("%w: connection tracking has no entry for it (local address %s)", ErrNotRedirected, local)
	case errors.Is(err, unix.ENOPROTOOPT):
		return netip.AddrPort{}, fmt.Errorf("%w: the kernel does not track connections of this kind (local address %s)", ErrNotRedirected, local)
	case err != nil:
		return netip.AddrPort{}, err
	case dst == local:
		return netip.AddrPort{}, fmt.Errorf("%w: it was made to %s itself", ErrNotRedirected, local)
	}
	return dst, nil
}

// localAddress returns the socket's own address. An IPv4 address is plain IPv4, also if the
// socket is an IPv6 one.
func localAddress(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), nil
	default:
		return netip.AddrPort{}, fmt.Errorf("not an IP socket but a %T", sa)
	}
}

// originalDestination reads the socket option. It makes the system call itself, because
// x/sys/unix has no function that fills a sockaddr and returns its length.
func originalDestination(fd, level, option int) (netip.AddrPort, error) {
	var buf [unix.SizeofSockaddrInet6]byte
	size := uint32(len(buf))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return netip.AddrPort{}, fmt.Errorf("getsockopt SO_ORIGINAL_DST: %w", errno)
	}
	if int(size) > len(buf) {
		return netip.AddrPort{}, fmt.Errorf("getsockopt SO_ORIGINAL_DST: the kernel returned %d bytes, more than a socket address has", size)
	}
	return decodeSockaddr(buf[:size])
}
