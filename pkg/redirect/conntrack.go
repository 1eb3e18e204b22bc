// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Connection is one redirected connection, as conntrack knows it.
type Connection struct {
	Family Family `json:"family"`
	// Source is the app's end.
	Source netip.AddrPort `json:"source"`
	// OriginalDestination is where the app wanted to go.
	OriginalDestination netip.AddrPort `json:"originalDestination"`
	// Proxy is where it went: the end that the replies come from.
	Proxy netip.AddrPort `json:"proxy"`
	// Probe is set for a check of the redirect itself, by init-redirect or the
	// sidecar. Conntrack keeps each for two minutes after its end.
	Probe bool `json:"probe,omitempty"`
	// State is the TCP state (nf_conntrack_tcp.h), such as ESTABLISHED.
	State string `json:"state"`
	// TimeoutSeconds is when conntrack forgets it unless a packet comes.
	TimeoutSeconds uint32 `json:"timeoutSeconds"`
	// AgeSeconds is set where sysctl net.netfilter.nf_conntrack_timestamp is.
	AgeSeconds *int64 `json:"ageSeconds,omitempty"`
	// Bytes and packets of both directions with their headers; 0 unless
	// sysctl net.netfilter.nf_conntrack_acct is set.
	SentBytes       uint64 `json:"sentBytes"`
	SentPackets     uint64 `json:"sentPackets"`
	ReceivedBytes   uint64 `json:"receivedBytes"`
	ReceivedPackets uint64 `json:"receivedPackets"`
}

// Live reports whether data can still flow.
func (c Connection) Live() bool {
	return slices.Contains([]string{"SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT"}, c.State)
}

// tcpState names enum tcp_conntrack of linux/netfilter/nf_conntrack_tcp.h.
func tcpState(n uint8) string {
	names := []string{
		"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT",
		"LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
	}
	if int(n) >= len(names) {
		return fmt.Sprintf("state %d", n)
	}
	return names[n]
}

// connections lists the TCP connections that were redirected to one of ports,
// sorted by destination and source. A partial list may lack some: the table
// changed each time that it was read.
func connections(ports []uint16) (all []Connection, partial bool, err error) {
	for _, f := range []Family{IPv4, IPv6} {
		kind := netlink.InetFamily(unix.AF_INET)
		if f == IPv6 {
			kind = unix.AF_INET6
		}
		flows, err := complete(func() ([]*netlink.ConntrackFlow, error) {
			return netlink.ConntrackTableList(netlink.ConntrackTable, kind)
		})
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			partial = true // as every next one would be, on a busy pod
		} else if err != nil {
			return nil, false, conntrackError(f, err)
		}
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

func conntrackError(f Family, err error) error {
	e := &KernelError{Op: fmt.Sprintf("list the %s connections of conntrack", f), Err: err, Cure: "load kernel module nf_conntrack_netlink on the node"}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		e.Err, e.Cure = fmt.Errorf("%w (%w)", ErrPermission, err), "the container needs capability NET_ADMIN"
	}
	return e
}

// redirected turns a conntrack entry into a connection. Ours are those whose
// replies come from the proxy's port on loopback, instead of from where the
// connection was going.
func redirected(f Family, flow *netlink.ConntrackFlow, ports []uint16) (Connection, bool) {
	if flow.Forward.Protocol != unix.IPPROTO_TCP || !slices.Contains(ports, flow.Reverse.SrcPort) {
		return Connection{}, false
	}
	c := Connection{
		Family:              f,
		Source:              addrPort(flow.Forward.SrcIP, flow.Forward.SrcPort),
		OriginalDestination: addrPort(flow.Forward.DstIP, flow.Forward.DstPort),
		Proxy:               addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort),
		TimeoutSeconds:      flow.TimeOut,
		SentBytes:           flow.Forward.Bytes,
		SentPackets:         flow.Forward.Packets,
		ReceivedBytes:       flow.Reverse.Bytes,
		ReceivedPackets:     flow.Reverse.Packets,
	}
	if !c.Proxy.Addr().IsLoopback() || c.OriginalDestination == c.Proxy {
		return Connection{}, false
	}
	if tcp, ok := flow.ProtoInfo.(*netlink.ProtoInfoTCP); ok {
		c.State = tcpState(tcp.State)
	}
	if flow.TimeStart != 0 {
		// The kernel has the wall clock's time of it, and that may have been set since.
		age := int64(max(0, time.Since(time.Unix(0, int64(flow.TimeStart)))).Seconds())
		c.AgeSeconds = &age
	}
	return c, true
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	address, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(address.Unmap(), port)
}
