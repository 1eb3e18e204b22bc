// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/conntrack"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/podnetwork"
)

func TestCollisionIsRefusedUnlessExcluded(t *testing.T) {
	needed := []podnetwork.NeededAddress{
		{Address: netip.MustParseAddr("fe80::1%eth0"), Role: "this pod's default gateway"},
		{Address: netip.MustParseAddr("::ffff:10.1.2.3"), Role: "this pod's own address on eth0"},
		{Address: netip.MustParseAddr("fd01::53"), Role: "a nameserver of /etc/resolv.conf"},
	}
	for _, test := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"own address", configFor("100.64.0.0/12", "10.0.0.0/8"), "shoot CIDR 10.0.0.0/8: contains 10.1.2.3, this pod's own address on eth0"},
		{"nameserver", configFor("fd01::/48"), "shoot CIDR fd01::/48: contains fd01::53, a nameserver of /etc/resolv.conf"},
		{"its own address alone", configFor("10.1.2.3/32"), "shoot CIDR 10.1.2.3/32: contains 10.1.2.3, this pod's own address on eth0: a range of the seed is no range of the shoot; correct it"},
		{"nothing", configFor("100.64.0.0/12", "fd02::/48"), ""},
		{"excluded", Config{Shoot: prefixes("10.0.0.0/8"), Exclude: prefixes("10.1.2.0/24"), ProxyPort: 1, ProxyUID: 1}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			target, err := test.cfg.target()
			if err != nil {
				t.Fatal(err)
			}
			err = collision(target.set, needed)
			var refused *CollisionError
			if test.want == "" && err == nil {
				return
			}
			if !errors.As(err, &refused) || test.want == "" || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %v, want it to begin with %q", err, test.want)
				return
			}
			if _, advised, found := strings.Cut(err.Error(), "or exclude "); found {
				test.cfg.Exclude = prefixes(advised)
				if target, err = test.cfg.target(); err == nil {
					err = collision(target.set, needed)
				}
				if err != nil {
					t.Errorf("with %s excluded, as was advised, it is refused again: %v", advised, err)
				}
			}
		})
	}
}

// connectionOf returns an entry of conntrack as a connection if it was redirected to one of
// ports.
func connectionOf(entry *netlink.ConntrackFlow, ports ...uint16) (Connection, bool) {
	flow, ok := conntrack.Decode(entry)
	if !ok {
		return Connection{}, false
	}
	return redirected(IPv4, flow, ports)
}

func TestConntrackEntryIsOursOnlyIfRedirected(t *testing.T) {
	flow := func(change func(*netlink.ConntrackFlow)) *netlink.ConntrackFlow {
		f := &netlink.ConntrackFlow{
			Forward:   netlink.IPTuple{Protocol: unix.IPPROTO_TCP, SrcIP: net.ParseIP("10.0.0.2"), SrcPort: 40000, DstIP: net.ParseIP("100.64.3.7"), DstPort: 9100},
			Reverse:   netlink.IPTuple{Protocol: unix.IPPROTO_TCP, SrcIP: net.ParseIP("127.0.0.1"), SrcPort: 14001, DstIP: net.ParseIP("10.0.0.2"), DstPort: 40000},
			ProtoInfo: &netlink.ProtoInfoTCP{State: 3}, TimeOut: 100,
		}
		change(f)
		return f
	}
	for name, change := range map[string]func(*netlink.ConntrackFlow){
		"UDP":                            func(f *netlink.ConntrackFlow) { f.Forward.Protocol = unix.IPPROTO_UDP },
		"another port":                   func(f *netlink.ConntrackFlow) { f.Reverse.SrcPort = 15001 },
		"a real server on the port":      func(f *netlink.ConntrackFlow) { f.Reverse.SrcIP = f.Forward.DstIP },
		"straight to the sidecar":        func(f *netlink.ConntrackFlow) { f.Forward.DstIP, f.Forward.DstPort = f.Reverse.SrcIP, 14001 },
		"redirected by a mesh elsewhere": func(f *netlink.ConntrackFlow) { f.Reverse.SrcIP = net.ParseIP("10.9.9.9") },
	} {
		if got, ok := connectionOf(flow(change), 14001); ok {
			t.Errorf("%s counts as a redirected connection: %+v", name, got)
		}
	}
	got, ok := connectionOf(flow(func(*netlink.ConntrackFlow) {}), 1, 14001)
	want := Connection{
		Family: IPv4, Source: netip.MustParseAddrPort("10.0.0.2:40000"), OriginalDestination: netip.MustParseAddrPort("100.64.3.7:9100"),
		Proxy: netip.MustParseAddrPort("127.0.0.1:14001"), State: "ESTABLISHED", TimeoutSeconds: 100,
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); !ok || diff != "" {
		t.Errorf("a redirected connection is %v (-want +got):\n%s", ok, diff)
	}
}
