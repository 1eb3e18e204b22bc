// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// TestFollowKnowsTheKernelsOrder: rules whose effect depends on the order in which the
// kernel calls them, or on what it does between them. Each is predicted, and tried.
func TestFollowKnowsTheKernelsOrder(t *testing.T) {
	shoot, outside := "100.64.3.7:9100", "203.0.113.9:80"
	native := func(rest string) string { return "table inet x {\n chain o {\n" + rest + "\n }\n}\n" }
	nft := func(script string) func(*testing.T, *crossing) {
		return func(t *testing.T, c *crossing) { c.nft(t, script) }
	}
	tables := func(b Backend, script string) func(*testing.T, *crossing) {
		return func(t *testing.T, c *crossing) { c.restore(t, IPv4, b, script) }
	}
	ours := func(t *testing.T, c *crossing) { c.apply(t, configFor("100.64.0.0/12"), BackendNFT) }
	redirectAll := native("type nat hook output priority -100; policy accept; meta l4proto tcp redirect to :15001")
	for _, test := range []struct {
		name   string
		load   []func(*testing.T, *crossing)
		to     string
		result netfilter.Result
		where  string // the destination in the end
	}{
		{"the newer table of the same priority is asked first", []func(*testing.T, *crossing){ours, nft(redirectAll)}, shoot, netfilter.Arrives, "127.0.0.1:15001"},
		{"the older table is asked last", []func(*testing.T, *crossing){nft(redirectAll), ours}, shoot, netfilter.Arrives, "127.0.0.1:14001"},
		{
			"the priority comes before the age",
			[]func(*testing.T, *crossing){ours, nft(strings.ReplaceAll(redirectAll, "-100", "-99"))},
			shoot, netfilter.Arrives, "127.0.0.1:14001",
		},
		{"accept in one table does not end the next", []func(*testing.T, *crossing){
			ours, nft(native("type nat hook output priority -110; policy accept; accept")),
		}, shoot, netfilter.Arrives, "127.0.0.1:14001"},
		{"goto does not come back", []func(*testing.T, *crossing){
			tables(BackendNFT, "*nat\n:G - [0:0]\n-A G -j RETURN\n-A OUTPUT -p tcp -g G\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"),
		}, outside, netfilter.Leaves, outside},
		{"jump comes back", []func(*testing.T, *crossing){
			tables(BackendLegacy, "*nat\n:G - [0:0]\n-A G -j RETURN\n-A OUTPUT -p tcp -j G\n-A OUTPUT -p tcp -j REDIRECT --to-ports 15001\nCOMMIT\n"),
		}, outside, netfilter.Arrives, "127.0.0.1:15001"},
		{"goto from a chain comes back to the chain before", []func(*testing.T, *crossing){
			nft("table inet x {\n chain b {\n return\n }\n chain a {\n goto b\n meta l4proto tcp redirect to :15006\n }\n chain o {\n type nat hook output priority -100;\n jump a\n meta l4proto tcp redirect to :15001\n }\n}\n"),
		}, outside, netfilter.Arrives, "127.0.0.1:15001"},
		{"a connection is not translated again by lo", []func(*testing.T, *crossing){
			ours, tables(BackendNFT, "*nat\n-A PREROUTING -i lo -p tcp -j REDIRECT --to-ports 15006\nCOMMIT\n"),
		}, shoot, netfilter.Arrives, "127.0.0.1:14001"},
		{"nor is one that stays in the pod", []func(*testing.T, *crossing){
			tables(BackendLegacy, "*nat\n-A PREROUTING -i lo -p tcp -j REDIRECT --to-ports 15006\n-A OUTPUT -p udp -j ACCEPT\nCOMMIT\n"),
		}, "127.0.0.1:8080", netfilter.Arrives, "127.0.0.1:8080"},
		{"conntrack comes before mangle", []func(*testing.T, *crossing){
			ours, nft(native("type filter hook output priority -150; policy accept; notrack")),
		}, shoot, netfilter.Arrives, "127.0.0.1:14001"},
		{"and behind raw", []func(*testing.T, *crossing){
			ours, nft(native("type filter hook output priority -300; policy accept; meta l4proto tcp notrack")),
		}, shoot, netfilter.Rejected, shoot},
		{"a policy drops", []func(*testing.T, *crossing){
			nft(native("type filter hook output priority 0; policy drop; tcp dport 443 accept")),
		}, outside, netfilter.Dropped, outside},
		{"filter knows what nat has done", []func(*testing.T, *crossing){
			ours, tables(BackendNFT, "*filter\n-A OUTPUT -p tcp -m conntrack --ctstate DNAT -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with tcp-reset\nCOMMIT\n"),
		}, shoot, netfilter.Rejected, "127.0.0.1:14001"},
		{"filter sees the device from before the redirect", []func(*testing.T, *crossing){
			ours, tables(BackendNFT, "*filter\n-A OUTPUT -o lo -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP\nCOMMIT\n"),
		}, shoot, netfilter.Arrives, "127.0.0.1:14001"},
		{"a mark leads to another route", []func(*testing.T, *crossing){
			tables(BackendNFT, "*mangle\n-A OUTPUT -p udp -m udp --dport 8080 -j MARK --set-xmark 0x7/0xffffffff\nCOMMIT\n"),
			func(t *testing.T, c *crossing) {
				c.Run(t, "ip", "rule", "add", "fwmark", "7", "lookup", "77")
				c.Run(t, "ip", "route", "add", "local", "default", "dev", "lo", "table", "77")
			},
		}, "203.0.113.9:8080", netfilter.Arrives, "203.0.113.9:8080"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := newCrossing(t)
			for _, load := range test.load {
				load(t, c)
			}
			uid := uint32(1000)
			// A socket that is not transparent cannot answer for another host's address, so
			// that case is a datagram.
			traffic := Traffic{To: netip.MustParseAddrPort(test.to), UID: &uid, UDP: test.to == "203.0.113.9:8080"}
			got := c.predictAndTry(t, traffic)
			path, err := Follow(t.Context(), traffic, c.options(t, BackendAuto))
			if err != nil {
				t.Fatal(err)
			}
			where := path.Outcomes[0].Destination.String()
			if !slices.Equal(got, []netfilter.Result{test.result}) || where != test.where {
				t.Errorf("%v at %s was predicted, want %s at %s", got, where, test.result, test.where)
			}
		})
	}
}
