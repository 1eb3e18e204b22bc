// SPDX-License-Identifier: Apache-2.0

//go:build linux

package conntrack

import (
	"net"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestDecode(t *testing.T) {
	entry := netlink.ConntrackFlow{
		Forward: netlink.IPTuple{
			Protocol: unix.IPPROTO_TCP, SrcIP: net.ParseIP("10.0.0.2"), SrcPort: 40000,
			DstIP: net.ParseIP("100.64.3.7"), DstPort: 9100, Bytes: 600, Packets: 7,
		},
		Reverse: netlink.IPTuple{
			Protocol: unix.IPPROTO_TCP, SrcIP: net.ParseIP("127.0.0.1"), SrcPort: 14001,
			DstIP: net.ParseIP("10.0.0.2"), DstPort: 40000, Bytes: 400, Packets: 5,
		},
		ProtoInfo: &netlink.ProtoInfoTCP{State: 3}, TimeOut: 100,
	}
	want := Flow{
		Source: netip.MustParseAddrPort("10.0.0.2:40000"), Destination: netip.MustParseAddrPort("100.64.3.7:9100"),
		ReplySource: netip.MustParseAddrPort("127.0.0.1:14001"), State: "ESTABLISHED", TimeoutSeconds: 100,
		Sent: Count{600, 7}, Received: Count{400, 5},
	}
	got, ok := Decode(&entry)
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); !ok || diff != "" {
		t.Errorf("a TCP entry: %v (-want +got):\n%s", ok, diff)
	}
	entry.Forward.Protocol = unix.IPPROTO_UDP
	if got, ok := Decode(&entry); ok {
		t.Errorf("a UDP entry is decoded as %+v", got)
	}
	if got := stateName(10); got != "state 10" {
		t.Errorf("a state that has no name is called %q", got)
	}
}
