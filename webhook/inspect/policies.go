// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shoot-proxy/proxy-client/webhook/internal/netpolicy"
	"github.com/shoot-proxy/proxy-client/webhook/internal/reading"
	"github.com/shoot-proxy/proxy-client/webhook/report"
)

// checkPolicies finds NetworkPolicies that keep pods from a proxy-server, or from names.
func (in *inspection) checkPolicies(ctx context.Context) {
	policies := map[string][]networkingv1.NetworkPolicy{}
	readIn := func(namespace string) []networkingv1.NetworkPolicy {
		if known, ok := policies[namespace]; ok {
			return known
		}
		policies[namespace] = nil
		reading.Pages(ctx, &in.denials, reading.To("list", "networkpolicies.networking.k8s.io", namespace, "the policies between pods and proxy-servers"), metav1.ListOptions{},
			in.clients.Networking.NetworkPolicies(namespace).List, func(page *networkingv1.NetworkPolicyList) {
				policies[namespace] = append(policies[namespace], page.Items...)
			})
		return policies[namespace]
	}
	var found report.Merged
	looked := 0
	for _, s := range in.servers {
		if s.broken {
			continue
		}
		looked++
		parties := in.parties(ctx, s)
		for _, p := range s.pods {
			pod := p.spec()
			from := netpolicy.Party{Labels: pod.Labels, Name: p.namespace, Namespace: in.labelsOf(p.namespace)}
			egress := netpolicy.Selecting(readIn(p.namespace), networkingv1.PolicyTypeEgress, pod.Labels)
			if len(egress) > 0 && needsNames(s) && !netpolicy.PermitNames(egress) {
				found.Add(denied(egress, p.namespace, "to port 53, so the name of the proxy-server cannot be resolved",
					"allow UDP and TCP port 53 to the cluster's DNS"), p.name)
			}
			for _, e := range parties {
				if len(egress) > 0 && !netpolicy.Permit(egress, networkingv1.PolicyTypeEgress, p.namespace, e.Party, e.port) {
					found.Add(denied(egress, p.namespace, "to "+s.object(), fmt.Sprintf("allow TCP port %d to it", e.port)), p.name)
				}
				if e.Labels == nil {
					continue
				}
				ingress := netpolicy.Selecting(readIn(e.Name), networkingv1.PolicyTypeIngress, e.Labels)
				if len(ingress) > 0 && !netpolicy.Permit(ingress, networkingv1.PolicyTypeIngress, e.Name, from, e.port) {
					found.Add(denied(ingress, e.Name, "from these pods to "+s.object(), fmt.Sprintf("allow TCP port %d from them", e.port)), p.name)
				}
			}
		}
	}
	in.add(found.All...)
	if looked > 0 && len(found.All) == 0 && !in.denials.Lacks("networkpolicies.networking.k8s.io") {
		in.add(Finding{Check: "network-policy", Group: GroupNetworks, Status: OK, Message: "No NetworkPolicy keeps pods from a proxy-server."})
	}
}

func denied(policies []networkingv1.NetworkPolicy, namespace, what, next string) Finding {
	var names, commands []string
	for _, p := range policies {
		names = append(names, p.Name)
	}
	for _, name := range names[:min(len(names), report.MaxCommands)] {
		commands = append(commands, fmt.Sprintf("kubectl --namespace %s describe networkpolicy %s", namespace, name))
	}
	return Finding{
		Check: "network-policy", Group: GroupNetworks, Status: Failure,
		Message: fmt.Sprintf("%s %s in namespace %s %s no connection %s.", kindOf(len(names)), strings.Join(names, ", "), namespace, allow(len(names)), what),
		Next:    next, Commands: commands,
	}
}

func kindOf(n int) string {
	if n == 1 {
		return "NetworkPolicy"
	}
	return "The NetworkPolicies"
}

func allow(n int) string {
	if n == 1 {
		return "allows"
	}
	return "allow"
}

func (in *inspection) labelsOf(namespace string) labels.Set {
	if ns := in.namespaceOf(namespace); ns != nil {
		return ns.Labels
	}
	return labels.Set{corev1.LabelMetadataName: namespace}
}

// target is a party at a port.
type target struct {
	netpolicy.Party
	port int
}

// parties returns what is behind a proxy-server, as far as it is known: one of its
// endpoints, or its address.
func (in *inspection) parties(ctx context.Context, s *server) []target {
	if address, err := netip.ParseAddr(s.host); err == nil {
		return []target{{netpolicy.Party{Address: address}, s.port}}
	}
	if len(s.endpoints) == 0 {
		return nil
	}
	e := s.endpoints[0]
	t := target{netpolicy.Party{Address: e.address, Name: e.namespace, Namespace: in.labelsOf(e.namespace)}, e.port}
	if e.pod != "" {
		pod, err := in.clients.Core.Pods(e.namespace).Get(ctx, e.pod, metav1.GetOptions{})
		if !in.denials.Note(reading.To("get", "pods", e.namespace, "the proxy-server's pods"), err) {
			return nil // without its labels nothing can be said
		}
		if t.Labels = pod.Labels; t.Labels == nil {
			t.Labels = labels.Set{}
		}
	}
	return []target{t}
}

func needsNames(s *server) bool {
	_, err := netip.ParseAddr(s.host)
	return err != nil
}
