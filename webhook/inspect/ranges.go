// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shoot-proxy/proxy-client/webhook/internal/poddiff"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// place is a range of the seed, or one address.
type place struct {
	what   string // "Node a", "ServiceCIDR kubernetes"
	prefix netip.Prefix
	// dns is set for the address of the cluster's DNS, which every pod needs.
	dns bool
}

// checkRanges finds ranges of the shoot that overlap the seed's own addresses.
func (in *inspection) checkRanges(ctx context.Context) {
	in.collectShoots()
	if len(in.report.Shoots) == 0 {
		return
	}
	places := in.places(ctx)
	well := true
	for _, s := range in.report.Shoots {
		for _, text := range slices.Concat(s.PodCIDRs, s.ServiceCIDRs, s.NodeCIDRs) {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				continue // refused by the webhook
			}
			if f := overlap(prefix, s, places); f != nil {
				well = false
				in.add(*f)
			}
		}
	}
	if well && len(places) > 0 {
		in.add(Finding{
			Check: "overlap", Group: GroupNetworks, Status: OK,
			Message: "The shoot's ranges overlap none of this cluster's nodes, pods and Services, as far as these are known.",
		})
	}
}

// overlap returns the finding about a range of the shoot, or nil.
func overlap(prefix netip.Prefix, s Shoot, places []place) *Finding {
	var hit []string
	dns := false
	for _, p := range places {
		if !p.prefix.Overlaps(prefix) || excluded(p.prefix, s.ExcludeCIDRs) {
			continue
		}
		what := p.what + " " + p.prefix.String()
		if p.prefix.IsSingleIP() {
			what = p.what + " " + p.prefix.Addr().String()
		}
		dns = dns || p.dns
		hit = append(hit, what)
	}
	if len(hit) == 0 {
		return nil
	}
	shown := strings.Join(hit[:min(len(hit), report.MaxObjects)], ", ")
	if more := len(hit) - report.MaxObjects; more > 0 {
		shown += fmt.Sprintf(" and %d more", more)
	}
	f := &Finding{
		Check: "overlap", Group: GroupNetworks, Status: Warning, Objects: s.Objects,
		Message: fmt.Sprintf("The shoot's range %s overlaps addresses of this cluster (%s): connections to these go to the shoot.", prefix, shown),
		Next:    "exclude what the pods need of this cluster, with excludeCIDRs or the annotation shoot-proxy.io/exclude-cidrs",
	}
	if dns {
		f.Status = Failure
		f.Message += " One of them is this cluster's DNS, which the pods need: they resolve no name."
	}
	return f
}

// excluded reports whether all of a range is excluded.
func excluded(prefix netip.Prefix, excludes []string) bool {
	return slices.ContainsFunc(excludes, func(text string) bool {
		e, err := netip.ParsePrefix(text)
		return err == nil && e.Bits() <= prefix.Bits() && e.Overlaps(prefix)
	})
}

// collectShoots finds the sets of ranges that pods redirect.
func (in *inspection) collectShoots() {
	for c := range in.sidecars() {
		new := Shoot{PodCIDRs: c.values("--shoot-pod-cidr"), ServiceCIDRs: c.values("--shoot-service-cidr"), NodeCIDRs: c.values("--shoot-node-cidr"), ExcludeCIDRs: c.values("--exclude-cidr")}
		if redirect, _ := poddiff.Container(c.pod, initRedirect); redirect != nil && len(new.ExcludeCIDRs) == 0 {
			new.ExcludeCIDRs = valuesOf(poddiff.FlagValues(redirect.Args), "--exclude-cidr")
		}
		i := slices.IndexFunc(in.report.Shoots, func(o Shoot) bool {
			return slices.Equal(o.PodCIDRs, new.PodCIDRs) && slices.Equal(o.ServiceCIDRs, new.ServiceCIDRs) && slices.Equal(o.NodeCIDRs, new.NodeCIDRs) && slices.Equal(o.ExcludeCIDRs, new.ExcludeCIDRs)
		})
		if i < 0 {
			in.report.Shoots = append(in.report.Shoots, new)
			i = len(in.report.Shoots) - 1
		}
		in.report.Shoots[i].Objects = append(in.report.Shoots[i].Objects, c.subject.name)
	}
}

// places returns the addresses and ranges of this cluster.
func (in *inspection) places(ctx context.Context) []place {
	var all []place
	var podRanges []netip.Prefix
	add := func(what, text string, dns bool) {
		if prefix, err := netip.ParsePrefix(text); err == nil {
			all = append(all, place{what, prefix, dns})
		} else if address, err := netip.ParseAddr(text); err == nil {
			all = append(all, place{what, netip.PrefixFrom(address, address.BitLen()), dns})
		}
	}
	if in.clients.Serves(ctx, networkingv1.SchemeGroupVersion.WithResource("servicecidrs")) { // since Kubernetes 1.33
		reading.Pages(ctx, &in.denials, reading.To("list", "servicecidrs.networking.k8s.io", "", "the range of this cluster's Services"), metav1.ListOptions{}, in.clients.Networking.ServiceCIDRs().List, func(page *networkingv1.ServiceCIDRList) {
			for _, c := range page.Items {
				for _, cidr := range c.Spec.CIDRs {
					add("ServiceCIDR "+c.Name, cidr, false)
				}
			}
		})
	}
	for _, s := range []struct {
		namespace, name string
		dns             bool
	}{{metav1.NamespaceDefault, "kubernetes", false}, {metav1.NamespaceSystem, "kube-dns", true}} {
		service, err := in.clients.Core.Services(s.namespace).Get(ctx, s.name, metav1.GetOptions{})
		if !in.denials.Note(reading.To("get", "services", s.namespace, "the addresses of this cluster's API server and DNS"), err) {
			continue
		}
		for _, ip := range service.Spec.ClusterIPs {
			add("Service "+s.namespace+"/"+s.name, ip, s.dns)
		}
	}
	for _, n := range in.nodes {
		for _, cidr := range n.Spec.PodCIDRs {
			add("pods of Node "+n.Name, cidr, false)
			if prefix, err := netip.ParsePrefix(cidr); err == nil {
				podRanges = append(podRanges, prefix)
			}
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				add("Node "+n.Name, a.Address, false)
			}
		}
	}
	for _, p := range in.addresses.pods {
		if !slices.ContainsFunc(podRanges, func(r netip.Prefix) bool { return r.Contains(p.address) }) {
			all = append(all, place{p.object, netip.PrefixFrom(p.address, p.address.BitLen()), false})
		}
	}
	return all
}
