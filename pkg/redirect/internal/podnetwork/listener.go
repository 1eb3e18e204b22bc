// SPDX-License-Identifier: Apache-2.0

//go:build linux

package podnetwork

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Listener is a socket that takes what arrives.
type Listener struct {
	// Address may be unspecified: then the socket takes what arrives at any address. An
	// IPv6 socket is taken to accept IPv4 too, as it does by default.
	Address netip.AddrPort
	UID     uint32
}

// Takes reports whether the socket gets what arrives at an address.
func (l Listener) Takes(at netip.AddrPort) bool {
	if l.Address.Port() != at.Port() {
		return false
	}
	if l.Address.Addr().IsUnspecified() {
		return l.Address.Addr().Is6() || at.Addr().Is4()
	}
	return l.Address.Addr() == at.Addr()
}

// Listeners returns the sockets of "tcp" or "udp" that wait for peers.
func Listeners(protocol string) ([]Listener, error) {
	var all []Listener
	for _, suffix := range []string{"", "6"} {
		file := "/proc/thread-self/net/" + protocol + suffix
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			l, waits, err := parseListener(line, protocol)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			if waits {
				all = append(all, l)
			}
		}
	}
	return all, nil
}

// parseListener reads a line of proc_net_tcp(5). waits is false for the heading, and for a
// socket with a peer.
func parseListener(line, protocol string) (l Listener, waits bool, err error) {
	// sl local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid …
	fields := strings.Fields(line)
	const local, state, uid = 1, 3, 7
	if len(fields) <= uid || fields[0] == "sl" {
		return Listener{}, false, nil
	}
	// TCP_LISTEN and TCP_CLOSE of linux/net/tcp_states.h; an unconnected UDP socket has
	// the latter.
	if want := map[string]string{"tcp": "0A", "udp": "07"}[protocol]; fields[state] != want {
		return Listener{}, false, nil
	}
	owner, err := strconv.ParseUint(fields[uid], 10, 32)
	if err != nil {
		return Listener{}, false, err
	}
	address, port, ok := strings.Cut(fields[local], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	bytes, err2 := hex.DecodeString(address)
	if !ok || err != nil || err2 != nil || len(bytes)%4 != 0 {
		return Listener{}, false, fmt.Errorf("%q is no address", fields[local])
	}
	// Each 32 bits are written as a number of the machine.
	for i := 0; i < len(bytes); i += 4 {
		binary.NativeEndian.PutUint32(bytes[i:], binary.BigEndian.Uint32(bytes[i:]))
	}
	a, ok := netip.AddrFromSlice(bytes)
	if !ok {
		return Listener{}, false, fmt.Errorf("%q is no address", fields[local])
	}
	return Listener{Address: netip.AddrPortFrom(a, uint16(number)), UID: uint32(owner)}, true, nil
}
