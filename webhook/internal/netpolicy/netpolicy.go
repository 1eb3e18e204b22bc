// SPDX-License-Identifier: Apache-2.0

// Package netpolicy says whether NetworkPolicies allow a connection.
//
// It gets policies and the labels of both ends from its caller. It does not know whether a
// cluster's network enforces them.
package netpolicy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Party is one end of a connection, as a NetworkPolicy sees it.
type Party struct {
	Labels    labels.Set // nil if it is no pod
	Namespace labels.Set
	Name      string // of the namespace
	Address   netip.Addr
}

// Selecting returns the policies of a direction that select a pod. Without one, all
// connections are allowed.
func Selecting(policies []networkingv1.NetworkPolicy, direction networkingv1.PolicyType, pod labels.Set) []networkingv1.NetworkPolicy {
	var all []networkingv1.NetworkPolicy
	for _, p := range policies {
		if slices.Contains(p.Spec.PolicyTypes, direction) && Selects(&p.Spec.PodSelector, pod) {
			all = append(all, p)
		}
	}
	return all
}

// Permit reports whether one of the policies allows a connection with the other party.
// namespace is the policies'.
func Permit(policies []networkingv1.NetworkPolicy, direction networkingv1.PolicyType, namespace string, other Party, port int) bool {
	for _, p := range policies {
		if direction == networkingv1.PolicyTypeEgress {
			for _, r := range p.Spec.Egress {
				if permitsPort(r.Ports, corev1.ProtocolTCP, port) && permitsPeer(r.To, namespace, other) {
					return true
				}
			}
			continue
		}
		for _, r := range p.Spec.Ingress {
			if permitsPort(r.Ports, corev1.ProtocolTCP, port) && permitsPeer(r.From, namespace, other) {
				return true
			}
		}
	}
	return false
}

// permitsPort reports whether a rule is for a port. A port with a name may be any.
func permitsPort(ports []networkingv1.NetworkPolicyPort, protocol corev1.Protocol, port int) bool {
	if len(ports) == 0 {
		return true
	}
	for _, p := range ports {
		of := corev1.ProtocolTCP
		if p.Protocol != nil {
			of = *p.Protocol
		}
		switch {
		case of != protocol:
		case p.Port == nil, p.Port.StrVal != "":
			return true
		case p.EndPort != nil && port >= p.Port.IntValue() && port <= int(*p.EndPort), p.Port.IntValue() == port:
			return true
		}
	}
	return false
}

// permitsPeer reports whether a rule is for the other party.
func permitsPeer(peers []networkingv1.NetworkPolicyPeer, namespace string, other Party) bool {
	if len(peers) == 0 {
		return true
	}
	return slices.ContainsFunc(peers, func(p networkingv1.NetworkPolicyPeer) bool {
		switch {
		case p.IPBlock != nil:
			return other.Address.IsValid() && contained(p.IPBlock.CIDR, other.Address) &&
				!slices.ContainsFunc(p.IPBlock.Except, func(except string) bool { return contained(except, other.Address) })
		case other.Labels == nil:
			return false
		case p.NamespaceSelector == nil && other.Name != namespace,
			p.NamespaceSelector != nil && !Selects(p.NamespaceSelector, other.Namespace):
			return false
		default:
			return Selects(p.PodSelector, other.Labels)
		}
	})
}

func contained(cidr string, address netip.Addr) bool {
	prefix, err := netip.ParsePrefix(cidr)
	return err == nil && prefix.Contains(address)
}

// PermitNames reports whether a policy allows port 53 to any party.
func PermitNames(policies []networkingv1.NetworkPolicy) bool {
	for _, p := range policies {
		for _, r := range p.Spec.Egress {
			if permitsPort(r.Ports, corev1.ProtocolUDP, 53) {
				return true
			}
		}
	}
	return false
}

// Selects reports whether a selector accepts labels. No selector accepts all.
func Selects(selector *metav1.LabelSelector, set labels.Set) bool {
	if selector == nil {
		return true
	}
	s, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && s.Matches(set)
}
