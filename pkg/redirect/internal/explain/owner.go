// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"regexp"
	"slices"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// The owners about which more is known than their name.
const (
	// OwnerOurs are the rules of package redirect.
	OwnerOurs    = "ours"
	ownerIstio   = "Istio"
	ownerAmbient = "Istio (ambient mode)"
	ownerLinkerd = "Linkerd"
	ownerUnknown = "another program"
)

// signature tells an owner by the names in its rules.
type signature struct {
	owner string
	names *regexp.Regexp // of a chain, a table, or a comment
}

// signatures are names that programs give to their chains, tables and comments. Those of
// Istio, Linkerd and ours are tested with the programs themselves.
func signatures() []signature {
	var all []signature
	for _, s := range [][2]string{
		{OwnerOurs, `^PROXY_CLIENT_`},
		{ownerAmbient, `^ISTIO_PRERT$|^istio-ambient`},
		{ownerIstio, `^ISTIO_|^istio-`},
		{ownerLinkerd, `^PROXY_INIT_|^proxy-init/`},
		{"Consul", `^CONSUL_`},
		{"Kuma", `^KUMA_|^MESH_(IN|OUT)BOUND|^kuma-`},
		{"Open Service Mesh", `^OSM_`},
		{"kube-router", `^KUBE-ROUTER|^KUBE-(NWPLCY|POD-FW|NTWRK)`},
		{"the kubelet", `^KUBE-(KUBELET-CANARY|FIREWALL|MARK-DROP)`},
		{"kube-proxy", `^KUBE-|^kube-proxy|^kubernetes `},
		{"Docker", `^DOCKER`},
		{"CNI plugin portmap", `^CNI-(HOSTPORT|DN-|SN-)|^cni_hostport`},
		{"a CNI plugin", `^CNI-|^cni`},
		{"Cilium", `^(OLD_)?CILIUM_|^cilium`},
		{"Calico", `^cali[-:]|^calico`},
		{"Flannel", `^FLANNEL-|^flannel`},
		{"Antrea", `^ANTREA-|^antrea`},
		{"Weave", `^WEAVE`},
		{"the AWS VPC CNI", `^AWS-(SNAT|CONNMARK)`},
		{"NodeLocal DNSCache", `^NodeLocal DNS Cache`},
		{"Netavark (Podman)", `^NETAVARK|^netavark`},
		{"libvirt", `^LIBVIRT_|^libvirt`},
		{"Tailscale", `^ts-(input|forward|postrouting)`},
		{"firewalld", `^firewalld`},
		{"ufw", `^ufw6?-`},
		{"fail2ban", `^f2b-`},
	} {
		all = append(all, signature{s[0], regexp.MustCompile(s[1])})
	}
	return all
}

// meshPorts are the ports to which rules of meshes redirect.
func meshPorts() map[uint16]string {
	return map[uint16]string{
		15001: ownerIstio, 15006: ownerIstio, 15008: ownerIstio, 15053: ownerIstio,
		4140: ownerLinkerd, 4143: ownerLinkerd,
	}
}

// owners tells the likely owners of the rules of one ruleset.
type owners struct {
	signatures []signature
	ambient    bool // Istio's chains are those of ambient mode
}

func ownersOf(rules *netfilter.Ruleset) owners {
	o := owners{signatures: signatures()}
	for _, t := range rules.Tables {
		if strings.HasPrefix(t.Name, "istio-ambient") || t.Chains["ISTIO_PRERT"] != nil {
			o.ambient = true
		}
	}
	return o
}

// of returns the likely owner of a rule.
func (o owners) of(r *netfilter.Rule) string {
	names := []string{r.Chain.Name}
	if r.Chain.Table.Origin == netfilter.OriginNative {
		names = append(names, r.Chain.Table.Name)
	}
	if owner := o.named(names); owner != "" {
		return owner
	}
	names = comments(r.Text)
	target := r.Target()
	if target != nil && target.Chain != "" {
		names = append(names, target.Chain)
	}
	if owner := o.named(names); owner != "" {
		return owner
	}
	if target != nil && slices.Contains([]netfilter.Verb{netfilter.Redirect, netfilter.DNAT, netfilter.TProxy}, target.Verb) {
		if owner, ok := meshPorts()[target.Port]; ok {
			return owner
		}
	}
	return o.ofTable(r.Chain)
}

// ofTable returns the likely owner of what says no name itself.
func (o owners) ofTable(c *netfilter.Chain) string {
	if c.Table.Origin == netfilter.OriginNative {
		if owner := o.named([]string{c.Table.Name, c.Name}); owner != "" {
			return owner
		}
		return "the program that made " + c.Table.Title()
	}
	return ownerUnknown
}

// named returns the owner of the first name that tells one, or "".
func (o owners) named(names []string) string {
	for _, name := range names {
		for _, s := range o.signatures {
			if !s.names.MatchString(name) {
				continue
			}
			if s.owner == ownerIstio && o.ambient {
				return ownerAmbient
			}
			return s.owner
		}
	}
	return ""
}

// commentText finds the comments of both notations.
var commentText = regexp.MustCompile(`comment "([^"]*)"|--comment ([^ "]+)`)

// comments returns the comments of a rule.
func comments(text string) []string {
	var all []string
	for _, m := range commentText.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1]+m[2])
	}
	return all
}
