// SPDX-License-Identifier: Apache-2.0

//go:build linux

package redirect

import (
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/iptables"
	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/kernelprobe"
)

// probeKernel makes sure that the kernel can do what our rules need, before anything is
// changed. The caller holds the namespace's lock.
func probeKernel(st opened) error {
	return kernelprobe.Kernel{
		Family: st.family, Backend: iptables.Backend(st.backend), Tables: st.tables,
		TableNames: ourTables(), Features: features(st.family),
	}.Run()
}

// features returns what the rules of a family need.
func features(f Family) []kernelprobe.Feature {
	uid, reject, mangle := uint32(0), "ipt_REJECT", "iptable_mangle"
	if f == IPv6 {
		reject, mangle = "ip6t_REJECT", "ip6table_mangle"
	}
	feature := func(table, name string, needs Rule, nft, legacy string) kernelprobe.Feature {
		return kernelprobe.Feature{
			Table: table, Name: name, Rule: needs.String(),
			Module: map[iptables.Backend]string{iptables.NFT: nft, iptables.Legacy: legacy},
		}
	}
	return []kernelprobe.Feature{
		feature(tableMangle, "table mangle", Rule{Out: "! lo", TCP: true, Jump: "DROP"}, "nf_tables", mangle),
		feature(tableFilter, "target REJECT", Rule{TCP: true, Jump: "REJECT", RejectWith: "tcp-reset"}, "nft_reject_inet", reject),
		feature(tableFilter, kernelprobe.MatchOwner, Rule{UID: &uid, Jump: "RETURN"}, "xt_owner", "xt_owner"),
		feature(tableFilter, "match conntrack", Rule{NotTCP: true, CTDir: "REPLY", Jump: "RETURN"}, "xt_conntrack", "xt_conntrack"),
		feature(tableNAT, "match multiport", Rule{TCP: true, Ports: []uint16{1, 2}, Jump: "RETURN"}, "xt_multiport", "xt_multiport"),
		feature(tableNAT, "target REDIRECT", Rule{TCP: true, Jump: "REDIRECT", ToPort: 1}, "nft_chain_nat, nft_redir and xt_REDIRECT", "xt_REDIRECT"),
	}
}
