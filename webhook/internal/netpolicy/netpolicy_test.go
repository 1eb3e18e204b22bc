// SPDX-License-Identifier: Apache-2.0

package netpolicy

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func port(protocol corev1.Protocol, number, end int32) networkingv1.NetworkPolicyPort {
	from := intstr.FromInt32(number)
	p := networkingv1.NetworkPolicyPort{Protocol: &protocol, Port: &from}
	if end > 0 {
		p.EndPort = &end
	}
	return p
}

func selector(pairs ...string) *metav1.LabelSelector {
	s := &metav1.LabelSelector{MatchLabels: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		s.MatchLabels[pairs[i]] = pairs[i+1]
	}
	return s
}

// TestPermit: a connection is allowed if a rule of one of the policies has both the other
// party and the port.
func TestPermit(t *testing.T) {
	server := Party{Labels: labels.Set{"app": "server"}, Namespace: labels.Set{"team": "net"}, Name: "shoot", Address: netip.MustParseAddr("192.0.2.10")}
	outside := Party{Address: netip.MustParseAddr("198.51.100.7")}
	tcp := []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, 8090, 0)}
	named := intstr.FromString("clients")
	for _, tt := range []struct {
		name  string
		peers []networkingv1.NetworkPolicyPeer
		ports []networkingv1.NetworkPolicyPort
		to    Party
		want  bool
	}{
		{"everything", nil, nil, server, true},
		{"the port", nil, tcp, server, true},
		{"another port", nil, []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, 8091, 0)}, server, false},
		{"another protocol", nil, []networkingv1.NetworkPolicyPort{port(corev1.ProtocolUDP, 8090, 0)}, server, false},
		{"a range with it", nil, []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, 8000, 8100)}, server, true},
		{"a range before it", nil, []networkingv1.NetworkPolicyPort{port(corev1.ProtocolTCP, 8000, 8089)}, server, false},
		{"a port with a name may be it", nil, []networkingv1.NetworkPolicyPort{{Port: &named}}, server, true},
		{"pods of the policy's namespace", []networkingv1.NetworkPolicyPeer{{PodSelector: selector()}}, nil, server, false},
		{"its namespace", []networkingv1.NetworkPolicyPeer{{NamespaceSelector: selector("team", "net")}}, tcp, server, true},
		{"another namespace", []networkingv1.NetworkPolicyPeer{{NamespaceSelector: selector("team", "web")}}, tcp, server, false},
		{"its namespace, other pods", []networkingv1.NetworkPolicyPeer{{NamespaceSelector: selector("team", "net"), PodSelector: selector("app", "web")}}, tcp, server, false},
		{"its address", []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "192.0.2.0/24"}}}, tcp, server, true},
		{"its address left out", []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "192.0.2.0/24", Except: []string{"192.0.2.8/29"}}}}, tcp, server, false},
		{"no pod, by pods", []networkingv1.NetworkPolicyPeer{{NamespaceSelector: selector()}}, tcp, outside, false},
		{"no pod, by address", []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "198.51.100.0/24"}}}, tcp, outside, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out := networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{To: tt.peers, Ports: tt.ports}}}}
			if got := Permit([]networkingv1.NetworkPolicy{out}, networkingv1.PolicyTypeEgress, "monitoring", tt.to, 8090); got != tt.want {
				t.Errorf("egress: %v, want %v", got, tt.want)
			}
			into := networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: tt.peers, Ports: tt.ports}}}}
			if got := Permit([]networkingv1.NetworkPolicy{{}, into}, networkingv1.PolicyTypeIngress, "monitoring", tt.to, 8090); got != tt.want {
				t.Errorf("ingress: %v, want %v", got, tt.want)
			}
		})
	}
}

// TestSelecting: only policies of the direction that select the pod restrict it.
func TestSelecting(t *testing.T) {
	policy := func(direction networkingv1.PolicyType, selector *metav1.LabelSelector) networkingv1.NetworkPolicy {
		return networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{direction}, PodSelector: *selector}}
	}
	all := []networkingv1.NetworkPolicy{
		policy(networkingv1.PolicyTypeEgress, selector()), policy(networkingv1.PolicyTypeEgress, selector("app", "web")), policy(networkingv1.PolicyTypeIngress, selector()),
	}
	if got := Selecting(all, networkingv1.PolicyTypeEgress, labels.Set{"app": "db"}); len(got) != 1 {
		t.Errorf("%d policies select the pod, want 1", len(got))
	}
	if got := Selecting(all, networkingv1.PolicyTypeEgress, labels.Set{"app": "web"}); len(got) != 2 {
		t.Errorf("%d policies select the pod, want 2", len(got))
	}
}
