// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"fmt"
	"slices"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// ourMeaning says what a rule of ours is for. It is empty for a rule that our chains should
// not have.
func (s *Situation) ourMeaning(r *netfilter.Rule) string {
	target := r.Target()
	if target == nil || s.Ours == nil {
		return ""
	}
	t := r.Chain.Table
	f := fieldsOf(r)
	switch {
	case r.Chain.Hook != "" && t.Name == "nat":
		return "each connection that this pod begins comes to our rules first"
	case r.Chain.Hook != "" && t.Name == "filter":
		return "all that this pod sends comes to our guard first"
	case r.Chain.Hook != "":
		return "all that leaves by a device comes to our guard first"
	case t.Name == "mangle":
		return fmt.Sprintf("what was redirected to port %d and would leave by a device nevertheless is dropped (the app is bound to a device without a route of ours)", s.Ours.ProxyPort)
	case target.Verb == netfilter.Redirect:
		return fmt.Sprintf("sends the connection to port %d of this pod's loopback, where the sidecar (uid %d) listens", target.Port, s.Ours.ProxyUID)
	case target.Verb == netfilter.Return:
		return s.returnMeaning(f)
	case f.destination == "":
		return ""
	case s.isProbe(f):
		if t.Name == "nat" {
			return fmt.Sprintf("checks of the redirect, to %s port %s, are redirected to the sidecar", f.destination, f.port)
		}
		return fmt.Sprintf("a check of the redirect, to %s, that was not redirected is refused at once", f.destination)
	case t.Name == "nat":
		return fmt.Sprintf("TCP to the shoot CIDR %s is redirected to the sidecar", f.destination)
	case target.Verb == netfilter.Drop:
		return fmt.Sprintf("late packets of connections to %s, of which conntrack knows nothing, are dropped; a reset would end a connection that works", f.destination)
	case f.protocol == "tcp":
		return fmt.Sprintf("TCP to %s that was not redirected is refused, so that it does not leave the pod for the seed", f.destination)
	default:
		return fmt.Sprintf("UDP and ping to %s are refused: only TCP can be redirected", f.destination)
	}
}

// returnMeaning says what a rule of ours lets pass.
func (s *Situation) returnMeaning(f fields) string {
	switch {
	case f.uid != "" && f.uid == fmt.Sprint(s.Ours.ProxyUID):
		return fmt.Sprintf("the sidecar's own connections (uid %s) are left alone, so that they do not come back to it", f.uid)
	case f.uid != "":
		return fmt.Sprintf("connections of uid %s are left alone: it is excluded", f.uid)
	case f.out == "lo":
		return "what stays in this pod (device lo) is left alone"
	case f.destination != "":
		return fmt.Sprintf("connections to %s are left alone: it is excluded", f.destination)
	case f.port != "":
		return fmt.Sprintf("connections to port %s are left alone: they are excluded", f.port)
	case f.has(netfilter.FieldDirection):
		return "replies to what came from outside may leave"
	case f.has(netfilter.FieldSocket):
		return "the rest of a connection that an excluded user has closed may leave"
	case f.protocol == "ipv6-icmp":
		return "IPv6 neighbour discovery may leave"
	default:
		return "all connections are left alone: the redirect is being drained, and takes no new connection"
	}
}

// fields are what the conditions of a rule of ours name.
type fields struct {
	destination, port, uid, out, protocol string
	all                                   []string
}

func (f fields) has(field string) bool { return slices.Contains(f.all, field) }

func fieldsOf(r *netfilter.Rule) fields {
	var f fields
	for _, c := range r.Conditions() {
		f.all = append(f.all, c.Field)
		value := c.Words
		for _, start := range []string{"to port ", "to ", "of uid ", "by device ", "of protocol "} {
			if len(value) > len(start) && value[:len(start)] == start {
				value = value[len(start):]
				break
			}
		}
		if c.Not {
			continue
		}
		switch c.Field {
		case netfilter.FieldDestination:
			f.destination = value
		case netfilter.FieldPort:
			f.port = value
		case netfilter.FieldUID:
			f.uid = value
		case netfilter.FieldOut:
			f.out = value
		case netfilter.FieldProtocol:
			f.protocol = value
		}
	}
	return f
}

// isProbe reports whether a rule is for checks of the redirect.
func (s *Situation) isProbe(f fields) bool {
	for _, at := range s.Ours.Probes {
		host := fmt.Sprintf("%s/%d", at.Addr(), at.Addr().BitLen())
		// The guard rejects all ports of the first probe of a family.
		whole := f.port == "" && !contains(s.Ours.Shoot, at.Addr())
		if f.destination == host && (f.port == fmt.Sprint(at.Port()) || whole) {
			return true
		}
	}
	return false
}
