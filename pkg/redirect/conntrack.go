// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/conntrack"
)

// Connection is one redirected connection, as conntrack knows it.
type Connection struct {
	Family Family `json:"family"`
	// Source is the app's address.
	Source netip.AddrPort `json:"source"`
	// OriginalDestination is the address that the app connected to.
	OriginalDestination netip.AddrPort `json:"originalDestination"`
	// Proxy is the address that the connection was redirected to. The replies come
	// from it.
	Proxy netip.AddrPort `json:"proxy"`
	// Probe is set for a check of the redirect, by [Verify] or the sidecar.
	// Conntrack keeps each for two minutes after its end.
	Probe bool `json:"probe,omitempty"`
	// State is the TCP state (nf_conntrack_tcp.h), such as ESTABLISHED.
	State string `json:"state"`
	// TimeoutSeconds is when conntrack forgets the connection unless a packet comes.
	TimeoutSeconds uint32 `json:"timeoutSeconds"`
	// AgeSeconds is nil unless sysctl net.netfilter.nf_conntrack_timestamp is set.
	AgeSeconds *int64 `json:"ageSeconds,omitempty"`
	// SentBytes and the next three fields count both directions with their headers.
	// They are 0 unless sysctl net.netfilter.nf_conntrack_acct is set.
	SentBytes       uint64 `json:"sentBytes"`
	SentPackets     uint64 `json:"sentPackets"`
	ReceivedBytes   uint64 `json:"receivedBytes"`
	ReceivedPackets uint64 `json:"receivedPackets"`
}

// Live reports whether data can still flow.
func (c Connection) Live() bool {
	return slices.Contains([]string{"SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT"}, c.State)
}

// connections lists the TCP connections that were redirected to one of ports,
// sorted by destination and source. A partial list may lack some: the table
// changed each time that it was read.
func connections(ports []uint16) (all []Connection, partial bool, err error) {
	for _, f := range []Family{IPv4, IPv6} {
		flows, some, err := conntrack.List(f)
		if err != nil {
			return nil, false, err
		}
		partial = partial || some
		for _, flow := range flows {
			if c, ok := redirected(f, flow, ports); ok {
				all = append(all, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b Connection) int {
		return cmp.Or(a.OriginalDestination.Compare(b.OriginalDestination), a.Source.Compare(b.Source))
	})
	return all, partial, nil
}

// redirected returns a flow as a connection if our rules redirected it. The replies of
// such a flow come from the proxy's port on loopback, and not from its destination.
func redirected(f Family, flow conntrack.Flow, ports []uint16) (Connection, bool) {
	proxy := flow.ReplySource
	if !slices.Contains(ports, proxy.Port()) || !proxy.Addr().IsLoopback() || flow.Destination == proxy {
		return Connection{}, false
	}
	return Connection{
		Family: f, Source: flow.Source, OriginalDestination: flow.Destination, Proxy: proxy,
		State: flow.State, TimeoutSeconds: flow.TimeoutSeconds, AgeSeconds: flow.AgeSeconds,
		SentBytes: flow.Sent.Bytes, SentPackets: flow.Sent.Packets,
		ReceivedBytes: flow.Received.Bytes, ReceivedPackets: flow.Received.Packets,
	}, true
}
