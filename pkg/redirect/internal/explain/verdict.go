// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"strings"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// verdict says in one sentence what becomes of a connection, and what to do about it.
func (s *Situation) verdict(p netfilter.Packet, o netfilter.Outcome, out Outcome) (text, next string) {
	switch o.Result {
	case netfilter.Arrives:
		return s.arrives(p, o, out)
	case netfilter.Refused:
		return s.refused(p, o, out)
	case netfilter.Leaves:
		return s.leaves(p, o, out)
	case netfilter.Dropped:
		if o.Rule == nil {
			return fmt.Sprintf("dropped by the policy of %s: %s", o.Chain.Title(), seesDrop(p)),
				"add a rule that lets the pod's own connections pass, or set the policy to accept"
		}
		if out.Owner == OwnerOurs {
			return "dropped by our guard: " + out.Rule, s.guardNext(p, o)
		}
		return fmt.Sprintf("dropped by %s: %s", theirs(out.Owner, out.Rule), seesDrop(p)), s.foreignNext(p, o, out.Owner)
	case netfilter.Rejected:
		if out.Owner == OwnerOurs {
			return "rejected by our guard, so that it does not leave the pod for the seed: " + out.Rule, s.guardNext(p, o)
		}
		return fmt.Sprintf("rejected by %s: %s", theirs(out.Owner, out.Rule), seesReject(p, o)), s.foreignNext(p, o, out.Owner)
	case netfilter.Unroutable:
		if o.Rule != nil {
			return fmt.Sprintf("dropped: %s sends it to %s, and from %s the kernel has no way there (%v): %s",
				theirs(out.Owner, out.Rule), o.Destination, o.Source.Addr(), o.Err, seesDrop(p)), s.foreignNext(p, o, out.Owner)
		}
		return fmt.Sprintf("not sent: the kernel has no way to %s (%v)", o.Destination.Addr(), o.Err), "look at `ip route get` in this pod"
	case netfilter.Queued:
		return fmt.Sprintf("handed to a program by %s, which decides about it", theirs(out.Owner, out.Rule)), "look at that program"
	default:
		if o.Rule == nil && o.Chain == nil {
			return "in the hands of more rules than can be followed, with conditions that cannot be told from here", "try the connection, and look at the counters of the rules"
		}
		if o.Rule == nil {
			return fmt.Sprintf("in the hands of %s, whose rules could not be read", o.Chain.Title()), "read them in this pod: `nft list ruleset`, `iptables-legacy-save`, `ip6tables-legacy-save`"
		}
		return fmt.Sprintf("in the hands of %s, and what that does cannot be told from here", theirs(out.Owner, out.Rule)), "try the connection, and look at the rule's counters"
	}
}

// seesReject says what an app sees of a rejected packet. An ICMP error comes by device lo, so
// a socket that is bound to another device does not get it.
func seesReject(p netfilter.Packet, o netfilter.Outcome) string {
	target := o.Rule.Target()
	if p.Bound != "" && target != nil && !strings.HasPrefix(target.With, "tcp") {
		return "the app waits until its own time limit, because the answer does not come by the device to which it is bound"
	}
	return "the app gets an error at once"
}

// seesDrop says what an app sees of a dropped packet.
func seesDrop(p netfilter.Packet) string {
	if p.Local && p.Protocol == "udp" {
		return "the app gets an error, or no answer"
	}
	return "the app waits until its own time limit"
}

func (s *Situation) arrives(p netfilter.Packet, o netfilter.Outcome, out Outcome) (text, next string) {
	switch {
	case out.Sidecar && o.ListenerUID == s.Ours.ProxyUID:
		return fmt.Sprintf("redirected to %s, where the sidecar (uid %d) takes it", o.Destination, o.ListenerUID), ""
	case out.Sidecar:
		return fmt.Sprintf("redirected to %s, where a program of uid %d takes it, and not the sidecar (uid %d)", o.Destination, o.ListenerUID, s.Ours.ProxyUID),
			"look which program listens there: `ss -ltnp` in this pod"
	case out.Owner == OwnerOurs:
		return fmt.Sprintf("redirected to %s, where a program of uid %d takes it", o.Destination, o.ListenerUID), ""
	case o.Rule != nil:
		return fmt.Sprintf("taken by %s to %s, where a program of uid %d takes it", theirs(out.Owner, out.Rule), o.Destination, o.ListenerUID), s.foreignNext(p, o, out.Owner)
	default:
		return fmt.Sprintf("stays in this pod: a program of uid %d listens on %s", o.ListenerUID, o.Destination), ""
	}
}

func (s *Situation) refused(p netfilter.Packet, o netfilter.Outcome, out Outcome) (text, next string) {
	sees := `the app gets "connection refused"`
	if p.Protocol == "udp" {
		sees = "the app gets an error from its next call"
		if p.Bound != "" {
			sees = "the app gets no answer"
		}
	}
	switch {
	case out.Owner == OwnerOurs && s.toSidecar(p, o, OwnerOurs):
		return fmt.Sprintf("redirected to %s, where no program listens: %s", o.Destination, sees),
			"look whether the sidecar runs, and whether it listens on that port: `kubectl get pod`, and the log of its container"
	case o.Rule != nil:
		return fmt.Sprintf("taken by %s to %s, where no program listens: %s", theirs(out.Owner, out.Rule), o.Destination, sees), s.foreignNext(p, o, out.Owner)
	default:
		return fmt.Sprintf("stays in this pod, where no program listens on %s: %s", o.Destination, sees), ""
	}
}

func (s *Situation) leaves(p netfilter.Packet, o netfilter.Outcome, out Outcome) (text, next string) {
	text = fmt.Sprintf("leaves the pod for the seed by device %s, to %s", o.Device, o.Destination)
	if o.Computed {
		text = fmt.Sprintf("leaves the pod for the seed by device %s, to an address that a rule computes", o.Device)
	}
	if o.Rule != nil {
		text += ", where " + theirs(out.Owner, out.Rule) + " sends it"
	}
	if o.Destination.Addr().IsLoopback() || o.Source.Addr().IsLoopback() {
		text += "; no other host takes packets from or to a loopback address, so no answer comes"
	}
	if !p.Local || s.Ours == nil {
		if s.Ours == nil {
			return text + ": no rules of ours stand in this network namespace", nothingNext
		}
		return text, ""
	}
	if o.Untracked != nil {
		return text + ": conntrack does not see it because of " + quoted(o.Untracked.Title()+": "+o.Untracked.Text), s.foreignNext(p, o, out.Owner)
	}
	if why, captures := s.Ours.captures(p.Destination, p.UID); !captures {
		return text + ": " + why, ""
	}
	if p.Protocol != "tcp" {
		return text + ": the guard that rejects it is not there", repairNext
	}
	return text + ": no rule of ours takes it, although its address is in the shoot", repairNext
}

// What to do about our own rules.
const (
	nothingNext = "call redirect.Apply with the Config that they were made for"
	repairNext  = "call redirect.Verify, then redirect.Apply to repair"
	tryNext     = "call redirect.Verify, which tries it; "
)

// guardNext says what to do about a connection that our guard rejects.
func (s *Situation) guardNext(p netfilter.Packet, o netfilter.Outcome) string {
	if p.Protocol != "tcp" {
		return "only TCP can be redirected; there is no way for UDP to the shoot"
	}
	if o.Untracked != nil {
		return "conntrack does not see the connection, so nothing can redirect it: remove " + quoted(o.Untracked.Title()+": "+o.Untracked.Text)
	}
	return repairNext
}

// foreignNext says what to do about a rule of another program. It is empty for a connection
// that is none of the shoot's: such a rule is most likely as it should be.
func (s *Situation) foreignNext(p netfilter.Packet, o netfilter.Outcome, owner string) string {
	if s.Ours == nil || !p.Local || p.Protocol != "tcp" || owner == "" {
		return ""
	}
	if _, captures := s.Ours.captures(p.Destination, p.UID); !captures {
		return ""
	}
	excluded := ""
	for _, p := range s.Ours.Shoot {
		excluded += p.String() + ","
	}
	annotation := fmt.Sprintf(`exclude the shoot from Istio with the pod's annotation traffic.sidecar.istio.io/excludeOutboundIPRanges: "%s192.0.2.1/32,2001:db8::1/128"`, excluded)
	native := o.Rule != nil && o.Rule.Chain.Table.Origin == netfilter.OriginNative
	switch {
	case owner == OwnerOurs:
		return repairNext
	case owner == ownerIstio && native:
		return annotation + " (docs/meshes.md)"
	case owner == ownerIstio:
		return "give Istio and our rules the same iptables backend, or " + annotation + " (docs/meshes.md)"
	case owner == ownerAmbient:
		return "take the pod out of ambient mode with the label istio.io/dataplane-mode: none, or let our rules be written after Istio's (docs/meshes.md)"
	case owner == ownerLinkerd:
		return "give Linkerd's init container and our rules the same iptables backend (docs/meshes.md)"
	default:
		return "let that program leave out the shoot's CIDRs, or remove the rule"
	}
}
