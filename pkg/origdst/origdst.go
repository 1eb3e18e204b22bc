// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package origdst tells where a redirected TCP connection wanted to go.
//
// When an iptables or nftables REDIRECT (or DNAT) rule sends a connection to a
// local listener, the accepted socket's own addresses are those after the
// translation. The kernel's connection tracking still knows the address that
// the client asked for, and hands it out through a socket option:
//
//	conn, err := listener.AcceptTCP()
//	…
//	dst, err := origdst.Lookup(conn)
//	if errors.Is(err, origdst.ErrNotRedirected) {
//		// somebody connected to the listener itself
//	}
//
// The kernel answers for plain TCP only. Go listens for Multipath TCP as well by
// default, so switch it off with net.ListenConfig's SetMultipathTCP; apps that
// ask for MPTCP fall back to TCP by themselves.
//
// The package owns that one question. It never dials, never changes the socket,
// never duplicates its descriptor (so the connection keeps its deadlines and
// stays with the runtime's poller), and needs no privilege. Whether a
// destination may be used is for the caller to decide.
package origdst

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The socket options below are uapi constants that golang.org/x/sys/unix has
// only in part: SO_ORIGINAL_DST is from <linux/netfilter_ipv4.h>, its IPv6 twin
// from <linux/netfilter_ipv6/ip6_tables.h>. They are read at the levels SOL_IP
// and SOL_IPV6.
const (
	soOriginalDst     = 80
	ip6tSoOriginalDst = 80
)

// ErrNotRedirected says that no address translation brought the connection to
// its socket: connection tracking does not know it (or does not run at all), or
// knows it with the very destination that the socket has. It is wrapped with
// the details; test for it with errors.Is.
var ErrNotRedirected = errors.New("connection was not redirected")

// Lookup returns the destination that the peer of c asked for before the kernel
// redirected the connection. c is an accepted TCP socket, usually a
// *net.TCPConn; on a dual-stack listener IPv4 connections are recognised and
// their destination is returned as a plain IPv4 address. An IPv6 zone is not
// reported.
//
// The error wraps ErrNotRedirected where the connection was not redirected, and
// otherwise what the kernel or the runtime said (net.ErrClosed on a closed
// socket, for example).
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

// lookup asks the kernel about one descriptor.
func lookup(fd int) (netip.AddrPort, error) {
	local, err := localAddress(fd)
	if err != nil {
		return netip.AddrPort{}, err
	}
	// The level follows the connection, not the socket: an IPv4 connection on a
	// dual-stack listener sits in an AF_INET6 socket, but its conntrack entry is
	// an IPv4 one, and only SOL_IP finds it.
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

// localAddress returns the address that the socket has on this side, IPv4 as
// plain IPv4 also where the socket is an IPv6 one.
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

// originalDestination reads the socket option as it is. The system call is made
// by hand because x/sys/unix has no getter that fills a sockaddr and reports
// its length.
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
