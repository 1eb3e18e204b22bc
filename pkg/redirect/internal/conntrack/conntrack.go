// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package conntrack lists the TCP connections that the kernel tracks.
//
// It owns the netlink call and the meaning of an entry's fields. Which of the entries
// were redirected is for the caller to say. It never deletes an entry.
package conntrack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/family"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelerror"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netlinkdump"
)

// Flow is one TCP connection.
type Flow struct {
	// Source and Destination are the addresses of the first packet, before translation.
	Source, Destination netip.AddrPort
	// ReplySource is the address that the replies come from. It differs from
	// Destination if the connection was redirected.
	ReplySource netip.AddrPort
	// State is the TCP state (nf_conntrack_tcp.h), such as ESTABLISHED. It is empty if
	// the kernel does not tell.
	State string
	// TimeoutSeconds is when the kernel forgets the connection unless a packet comes.
	TimeoutSeconds uint32
	// AgeSeconds is nil unless sysctl net.netfilter.nf_conntrack_timestamp is set.
	AgeSeconds *int64
	// Sent and Received are 0 unless sysctl net.netfilter.nf_conntrack_acct is set.
	Sent, Received Count
}

// Count is the traffic of one direction, headers included.
type Count struct{ Bytes, Packets uint64 }

// List returns the TCP connections of a family. A partial list may lack some: the table
// changed each time that it was read.
func List(f family.Family) (flows []Flow, partial bool, err error) {
	entries, err := netlinkdump.Complete(func() ([]*netlink.ConntrackFlow, error) {
		return netlink.ConntrackTableList(netlink.ConntrackTable, netlink.InetFamily(family.Number(f)))
	})
	if errors.Is(err, netlink.ErrDumpInterrupted) {
		partial = true // in a busy pod the next dump would be interrupted too
	} else if err != nil {
		return nil, false, listError(f, err)
	}
	for _, entry := range entries {
		if flow, ok := Decode(entry); ok {
			flows = append(flows, flow)
		}
	}
	return flows, partial, nil
}

func listError(f family.Family, err error) error {
	op := fmt.Sprintf("list the %s connections of conntrack", f)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return kernelerror.Permission(op, err)
	}
	return &kernelerror.Error{Op: op, Err: err, Cure: "load kernel module nf_conntrack_netlink on the node"}
}

// Decode returns an entry as a flow. The result is false if the entry is not TCP.
func Decode(entry *netlink.ConntrackFlow) (Flow, bool) {
	if entry.Forward.Protocol != unix.IPPROTO_TCP {
		return Flow{}, false
	}
	flow := Flow{
		Source:         addrPort(entry.Forward.SrcIP, entry.Forward.SrcPort),
		Destination:    addrPort(entry.Forward.DstIP, entry.Forward.DstPort),
		ReplySource:    addrPort(entry.Reverse.SrcIP, entry.Reverse.SrcPort),
		TimeoutSeconds: entry.TimeOut,
		Sent:           Count{entry.Forward.Bytes, entry.Forward.Packets},
		Received:       Count{entry.Reverse.Bytes, entry.Reverse.Packets},
	}
	if tcp, ok := entry.ProtoInfo.(*netlink.ProtoInfoTCP); ok {
		flow.State = stateName(tcp.State)
	}
	if entry.TimeStart != 0 {
		// The kernel recorded the wall clock, which may have been set since.
		age := int64(max(0, time.Since(time.Unix(0, int64(entry.TimeStart)))).Seconds())
		flow.AgeSeconds = &age
	}
	return flow, true
}

// stateName names a value of enum tcp_conntrack of linux/netfilter/nf_conntrack_tcp.h.
func stateName(n uint8) string {
	names := []string{
		"NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT",
		"LAST_ACK", "TIME_WAIT", "CLOSE", "SYN_SENT2",
	}
	if int(n) >= len(names) {
		return fmt.Sprintf("state %d", n)
	}
	return names[n]
}

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	address, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(address.Unmap(), port)
}
