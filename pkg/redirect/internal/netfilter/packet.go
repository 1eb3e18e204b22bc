// SPDX-License-Identifier: Apache-2.0

//go:build linux

package netfilter

import "net/netip"

// Packet is the first packet of a connection or UDP exchange. The walk changes it as rules
// and the kernel do.
type Packet struct {
	// Protocol is "tcp" or "udp".
	Protocol            string
	Source, Destination netip.AddrPort
	// Local is set while the packet belongs to the socket of this pod that sends it. Then
	// UID and GID are the socket's owner.
	Local    bool
	UID, GID uint32
	// Bound is the device to which the app has bound its socket, or "".
	Bound string
	// In is the device by which the packet came, Out the one by which it leaves.
	In, Out string
	// Mark and ConnMark are those of the packet and of its connection.
	Mark, ConnMark uint32
	// State is what conntrack says of the packet: INVALID before conntrack has seen it,
	// then NEW or UNTRACKED.
	State string
	// DestinationChanged and SourceChanged tell that the connection is translated.
	DestinationChanged, SourceChanged bool
	// Original is Destination before any translation.
	Original netip.AddrPort

	local func(netip.Addr) bool
}

// The states of conntrack that a first packet can have.
const (
	stateInvalid   = "INVALID"
	stateNew       = "NEW"
	stateUntracked = "UNTRACKED"
)

// IPv6 reports whether the packet is IPv6.
func (p *Packet) IPv6() bool { return !p.Destination.Addr().Is4() }

// IsLocal reports whether an address is one of this pod's.
func (p *Packet) IsLocal(a netip.Addr) bool { return p.local != nil && p.local(a) }

// States returns the conntrack states of the packet, with DNAT and SNAT if it is translated.
func (p *Packet) States() []string {
	states := []string{p.State}
	if p.DestinationChanged {
		states = append(states, "DNAT")
	}
	if p.SourceChanged {
		states = append(states, "SNAT")
	}
	return states
}

// Network answers for what the kernel decides beside the rules.
type Network interface {
	// Route returns the way of a packet. The error is that of connect(2).
	Route(Query) (Route, error)
	// IsLocal reports whether an address is one of this pod's.
	IsLocal(netip.Addr) bool
	// FirstAddress returns the address to which target REDIRECT sends what came by a
	// device.
	FirstAddress(device string, ipv6 bool) (netip.Addr, bool)
	// Listener returns the owner of the socket that gets what arrives at an address.
	Listener(protocol string, at netip.AddrPort) (uid uint32, found bool)
}

// Query is what the kernel is asked for a route.
type Query struct {
	Source      netip.Addr // the zero value lets the kernel choose
	Destination netip.Addr
	UID         uint32
	Mark        uint32
	In          string // set for a packet from outside
	Out         string // the device to which the socket is bound
}

// Route is the way of a packet.
type Route struct {
	Device string
	Source netip.Addr
	Local  bool // it stays in this pod
}
