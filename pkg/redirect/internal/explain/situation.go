// SPDX-License-Identifier: Apache-2.0

//go:build linux

package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/pkg/redirect/internal/netfilter"
)

// Ours is what our rules are for.
type Ours struct {
	Shoot, Exclude []netip.Prefix
	ExcludePorts   []uint16
	ExcludeUIDs    []uint32
	ProxyPort      uint16
	ProxyUID       uint32
	// Probes are the addresses by which the redirect is checked.
	Probes []netip.AddrPort
}

// contains reports whether one of the prefixes has an address.
func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}

// captures reports whether our rules should redirect a TCP connection, and if not, why.
func (o *Ours) captures(to netip.AddrPort, uid uint32) (why string, captures bool) {
	switch {
	case slices.Contains(o.Probes, to):
		return "", true
	case uid == o.ProxyUID:
		return fmt.Sprintf("the sidecar's own uid %d is left alone", uid), false
	case slices.Contains(o.ExcludeUIDs, uid):
		return fmt.Sprintf("uid %d is excluded", uid), false
	case slices.Contains(o.ExcludePorts, to.Port()):
		return fmt.Sprintf("port %d is excluded", to.Port()), false
	case contains(o.Exclude, to.Addr()):
		return fmt.Sprintf("%s is in an excluded CIDR", to.Addr()), false
	case !contains(o.Shoot, to.Addr()):
		return fmt.Sprintf("%s is not in one of the shoot CIDRs (%s)", to.Addr(), joined(o.Shoot)), false
	default:
		return "", true
	}
}

// joined returns values for people.
func joined[T any](values []T) string {
	var words []string
	for _, v := range values {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ", ")
}

// Situation is what the explanations are about: the rules, the network, and what our rules
// are for.
type Situation struct {
	Rules   *netfilter.Ruleset
	Network netfilter.Network
	// Ours is nil if no rules of ours stand.
	Ours *Ours
	// Problems are what is wrong with our own rules, such as a missing one. Differences
	// are how they differ from what was asked for.
	Problems, Differences []string
	// Notes are what could not be read.
	Notes []string
}

// Traffic is a connection to follow.
type Traffic struct {
	// To is where the app connects to.
	To netip.AddrPort
	// UDP is set for a datagram instead of a TCP connection.
	UDP bool
	// UID is the app's user, and its group has the same number. Nil is a user that no
	// rule names.
	UID *uint32
	// From is the source. If it is an address of this pod, an app has bound its socket
	// to it. Otherwise the connection comes from outside. The zero value lets the kernel
	// choose. Port 0 is any port.
	From netip.AddrPort
	// Device is that to which an app has bound its socket.
	Device string
}

// firstUser is where the search for a user begins that no rule names.
const firstUser = 1000

// anyUser returns a uid that no rule names.
func anyUser(rules *netfilter.Ruleset) uint32 {
	uid := uint32(firstUser)
	for named(rules, uid) {
		uid++
	}
	return uid
}

// named reports whether a rule names a uid alone, and not in a wide range.
func named(rules *netfilter.Ruleset, uid uint32) bool {
	found := false
	eachRule(rules, func(r *netfilter.Rule) {
		for _, c := range r.Conditions() {
			for _, u := range c.UIDs {
				found = found || u.Contains(uid) && u.Last-u.First < firstUser
			}
		}
	})
	return found
}

// eachRule calls fn for each rule.
func eachRule(rules *netfilter.Ruleset, fn func(*netfilter.Rule)) {
	for _, t := range rules.Tables {
		for _, c := range t.Chains {
			for _, r := range c.Rules {
				fn(r)
			}
		}
	}
}

// ErrNoDevice is the error for a device that this pod does not have.
var ErrNoDevice = errors.New("is no device of this pod: `ip link` in this pod lists them")

// ErrNoWayBack is the error for a source to which this pod has no route.
var ErrNoWayBack = errors.New("has no route from this pod, so the device by which a connection from there comes cannot be told: look at `ip route get` in this pod")

// packet returns the first packet of the traffic. The error is that there is no route back.
func (s *Situation) packet(t Traffic) (netfilter.Packet, error) {
	p := netfilter.Packet{Protocol: "tcp", Destination: t.To, Source: t.From, Local: true, Bound: t.Device}
	if t.UDP {
		p.Protocol = "udp"
	}
	if t.UID != nil {
		p.UID = *t.UID
	} else {
		p.UID = anyUser(s.Rules)
	}
	p.GID = p.UID
	if t.Device != "" {
		if _, err := s.Network.Route(netfilter.Query{Destination: t.To.Addr(), UID: p.UID, Out: t.Device}); errors.Is(err, unix.ENODEV) {
			return p, ErrNoDevice
		}
	}
	if !t.From.Addr().IsValid() || s.Network.IsLocal(t.From.Addr()) {
		return p, nil
	}
	back, err := s.Network.Route(netfilter.Query{Destination: t.From.Addr()})
	if err != nil {
		return p, fmt.Errorf("%w (%w)", ErrNoWayBack, err)
	}
	p.Local, p.In = false, back.Device
	return p, nil
}
