// SPDX-License-Identifier: Apache-2.0

//go:build linux

package ruletext

import (
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// island is a network without routes to the outside.
type island struct{}

func (island) Route(netfilter.Query) (netfilter.Route, error) {
	return netfilter.Route{Device: "eth0", Source: netip.MustParseAddr("10.0.0.2")}, nil
}
func (island) IsLocal(a netip.Addr) bool                      { return a.IsLoopback() }
func (island) FirstAddress(string, bool) (netip.Addr, bool)   { return netip.Addr{}, false }
func (island) Listener(string, netip.AddrPort) (uint32, bool) { return 0, false }

// followed is the packet of these tests.
func followed() netfilter.Packet {
	return netfilter.Packet{Protocol: "tcp", Local: true, UID: 1000, GID: 1000, Destination: netip.MustParseAddrPort("100.64.3.7:9100")}
}

// FuzzIPTables: whatever a rule looks like, it is read, and packets can be followed through it.
func FuzzIPTables(f *testing.F) {
	for _, seed := range []string{
		"-d 100.64.0.0/12 -p tcp -m tcp --dport 80:90 -c 1 2 -j REDIRECT --to-ports 1-2", "! -s 10.0.0.0/8 -j DNAT --to-destination [::1]:80",
		"-m owner ! --uid-owner 5-7 -j MARK --set-xmark 0x1/0xff", "-m multiport --dports 1,2:3 -g X", "-m set --match-set a dst -j Y", "-j TPROXY --on-port 5 --on-ip 0.0.0.0",
		`-m comment --comment "a \" b -j" -j ACCEPT`, "-m", "-j", "!", "-m tcp --tcp-flags SYN", "-m iprange --dst-range 1.1.1.1-", "-j CT --notrack",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		table, err := IPTables(netfilter.OriginNFT, false, "nat", map[string][]string{"OUTPUT": {"-P OUTPUT ACCEPT", "-A OUTPUT " + rule}})
		if err != nil {
			return
		}
		if outcomes := netfilter.Follow(&netfilter.Ruleset{Tables: []*netfilter.Table{table}}, island{}, followed()); len(outcomes) == 0 {
			t.Errorf("%q leaves no outcome", rule)
		}
	})
}

// FuzzNFT: whatever an expression looks like, it is read, and packets can be followed.
func FuzzNFT(f *testing.F) {
	for _, seed := range []string{
		`{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "daddr"}}, "right": {"set": [{"prefix": {"addr": "10.0.0.0", "len": 8}}, {"range": ["1.1.1.1", "1.1.1.9"]}]}}}, {"redirect": {"port": 5}}`,
		`{"match": {"op": "==", "left": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}, {"payload": {"protocol": "tcp", "field": "dport"}}]}, "right": "@s"}}, {"drop": null}`,
		`{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[9100, {"drop": null}], [{"range": [1, 5]}, {"jump": {"target": "out"}}]]}}}`,
		`{"mangle": {"key": {"meta": {"key": "mark"}}, "value": {"|": [{"meta": {"key": "mark"}}, 4]}}}`, `{"dnat": {"addr": {"map": {}}}}`, `{"match": 5}`, `{"match": {"op": ">", "left": {"meta": {"key": "skuid"}}, "right": 4294967295}}`,
		`{"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn"]]}, "right": "syn"}}, {"reject": {"type": "tcp reset"}}`, `{"match": {"left": {"fib": {"result": "type", "flags": "daddr"}}, "right": "local"}}, {"queue": {}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expressions string) {
		text := `{"nftables": [{"table": {"family": "inet", "name": "t", "handle": 1}},
			{"set": {"family": "inet", "name": "s", "table": "t", "elem": [{"concat": ["1.2.3.4", 80]}]}},
			{"chain": {"family": "inet", "table": "t", "name": "out", "type": "nat", "hook": "output", "prio": -100, "policy": "accept"}},
			{"rule": {"family": "inet", "table": "t", "chain": "out", "handle": 2, "expr": [` + expressions + `]}}]}`
		tables, _, err := NFT([]byte(text), "")
		if err != nil {
			return
		}
		if outcomes := netfilter.Follow(&netfilter.Ruleset{Tables: tables}, island{}, followed()); len(outcomes) == 0 {
			t.Errorf("%q leaves no outcome", expressions)
		}
	})
}
