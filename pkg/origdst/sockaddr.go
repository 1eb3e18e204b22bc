// SPDX-License-Identifier: Apache-2.0

//go:build linux

package origdst

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// decodeSockaddr reads a struct sockaddr_in or sockaddr_in6 of the kernel. The family is in
// the host's byte order, port and address are in the network's. Bytes behind the structure are
// ignored. A shorter structure or another family is an error. An IPv4-mapped address is
// returned as IPv4.
func decodeSockaddr(b []byte) (netip.AddrPort, error) {
	if len(b) < 2 {
		return netip.AddrPort{}, fmt.Errorf("socket address of %d bytes is too short to have a family", len(b))
	}
	family := binary.NativeEndian.Uint16(b)
	var (
		name     string
		size     int
		from, to int // of the address
	)
	switch family {
	case unix.AF_INET: // family 2, port 2, address 4, padding 8
		name, size, from, to = "IPv4", unix.SizeofSockaddrInet4, 4, 8
	case unix.AF_INET6: // family 2, port 2, flow label 4, address 16, scope 4
		name, size, from, to = "IPv6", unix.SizeofSockaddrInet6, 8, 24
	default:
		return netip.AddrPort{}, fmt.Errorf("socket address has family %d, neither IPv4 nor IPv6", family)
	}
	if len(b) < size {
		return netip.AddrPort{}, fmt.Errorf("%s socket address of %d bytes is too short, want %d", name, len(b), size)
	}
	addr, _ := netip.AddrFromSlice(b[from:to])
	return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[2:4])), nil
}
