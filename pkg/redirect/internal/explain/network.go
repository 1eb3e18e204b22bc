// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
)

// liveNetwork answers from the network namespace of the calling thread. Addresses and
// sockets are those at the time of [ReadNetwork].
type liveNetwork struct {
	addresses map[string][]netip.Addr
	listeners map[string][]podnetwork.Listener
}

// ReadNetwork reads the network that package netfilter asks. Its routes are asked for on
// the calling goroutine's thread.
func ReadNetwork() (netfilter.Network, error) {
	n := &liveNetwork{listeners: map[string][]podnetwork.Listener{}}
	var err error
	if n.addresses, err = podnetwork.LocalAddresses(); err != nil {
		return nil, err
	}
	for _, protocol := range []string{"tcp", "udp"} {
		if n.listeners[protocol], err = podnetwork.Listeners(protocol); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Route implements [netfilter.Network].
func (n *liveNetwork) Route(q netfilter.Query) (netfilter.Route, error) {
	way, err := podnetwork.WayTo(q.Destination, q.Source, q.UID, q.Mark, q.In, q.Out)
	return netfilter.Route{Device: way.Device, Source: way.Source, Local: way.Local}, err
}

// IsLocal implements [netfilter.Network].
func (n *liveNetwork) IsLocal(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	for _, addresses := range n.addresses {
		if slices.Contains(addresses, a) {
			return true
		}
	}
	return false
}

// FirstAddress implements [netfilter.Network].
func (n *liveNetwork) FirstAddress(device string, ipv6 bool) (netip.Addr, bool) {
	for _, a := range n.addresses[device] {
		if a.Is6() == ipv6 && !a.IsLinkLocalUnicast() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// Listener implements [netfilter.Network]. A socket with the very address comes before one
// for any address.
func (n *liveNetwork) Listener(protocol string, at netip.AddrPort) (uid uint32, found bool) {
	for _, l := range n.listeners[protocol] {
		if !l.Takes(at) {
			continue
		}
		if !found || !l.Address.Addr().IsUnspecified() {
			uid, found = l.UID, true
		}
	}
	return uid, found
}
