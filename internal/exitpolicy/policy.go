// SPDX-License-Identifier: Apache-2.0

package exitpolicy

import (
	"errors"
	"net/netip"
	"slices"
)

// Policy is a policy file that was read. It never changes, and is safe for concurrent use.
type Policy struct {
	rules []rule
}

// rule allows some clients some destinations.
type rule struct {
	clients []selector
	cidrs   []netip.Prefix
	names   []string // patterns in lower case
	ports   []portRange
}

// portRange is the ports from first to last.
type portRange struct{ first, last uint16 }

// Rules returns how many rules the policy has.
func (p *Policy) Rules() int { return len(p.rules) }

// Grant is what a policy allows one client. It is safe for concurrent use. Nil allows
// nothing.
type Grant struct {
	rules []*rule
}

// For returns what the policy allows a client. It is nil if no rule selects the client.
func (p *Policy) For(id Identity) *Grant {
	var g Grant
	for i := range p.rules {
		if r := &p.rules[i]; slices.ContainsFunc(r.clients, func(s selector) bool { return s.matches(id) }) {
			g.rules = append(g.rules, r)
		}
	}
	if len(g.rules) == 0 {
		return nil
	}
	return &g
}

// Reasons for which a destination is not allowed. Each is a clause that a client may read.
var (
	// ErrClient means that no rule selects the client.
	ErrClient = errors.New("the policy has no rule for this client")
	// ErrName means that no rule of the client has the name.
	ErrName = errors.New("the policy does not allow this client the name")
	// ErrPort means that the client's rules with the name or the address have other ports.
	ErrPort = errors.New("the policy does not allow this client the port")
	// ErrAddress means that no rule of the client has the address.
	ErrAddress = errors.New("the policy does not allow this client the address")
	// ErrSpecial means that the address is one that only a CIDR of its own allows.
	ErrSpecial = errors.New("the address is loopback, link-local, multicast, a cloud's metadata or the exit's own, which a rule has to name by itself")
)

// IsAddress reports whether err is about an address, and not about the client, a name or
// a port.
func IsAddress(err error) bool { return errors.Is(err, ErrAddress) || errors.Is(err, ErrSpecial) }

// CheckName returns nil if a rule allows the name with the port. An address that it
// resolves to has to be checked too. name is in lower case, without a dot at its end.
func (g *Grant) CheckName(name string, port uint16) error {
	if g == nil {
		return ErrClient
	}
	err := ErrName
	for _, r := range g.rules {
		if !r.hasName(name) {
			continue
		}
		if r.hasPort(port) {
			return nil
		}
		err = ErrPort
	}
	return err
}

// CheckAddress returns nil if a rule allows the address. name is the name that has
// resolved to it, for which one rule has to allow both. It is empty if the client has asked
// for the address itself. An IPv4-mapped address is checked as IPv4.
func (g *Grant) CheckAddress(name string, to netip.AddrPort) error {
	return g.check(name, to, (*rule).isSpecific)
}

// CheckOwn is CheckAddress for an address of the exit itself. A rule has to have it as a
// CIDR of one address.
func (g *Grant) CheckOwn(name string, to netip.AddrPort) error {
	return g.check(name, to, func(r *rule, a netip.Addr) bool {
		return slices.Contains(r.cidrs, netip.PrefixFrom(a, a.BitLen()))
	})
}

// check returns nil if a rule has the address and the port, and is specific about it.
func (g *Grant) check(name string, to netip.AddrPort, specific func(*rule, netip.Addr) bool) error {
	if g == nil {
		return ErrClient
	}
	err, a := ErrAddress, to.Addr().Unmap()
	for _, r := range g.rules {
		switch {
		case name != "" && !r.hasName(name), !r.hasAddress(a):
		case !r.hasPort(to.Port()):
			err = worse(err, ErrPort)
		case !specific(r, a):
			err = ErrSpecial
		default:
			return nil
		}
	}
	return err
}

// worse returns b, unless a says more about the address.
func worse(a, b error) error {
	if errors.Is(a, ErrSpecial) {
		return a
	}
	return b
}

func (r *rule) hasAddress(a netip.Addr) bool {
	return slices.ContainsFunc(r.cidrs, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (r *rule) hasPort(port uint16) bool {
	return len(r.ports) == 0 || slices.ContainsFunc(r.ports, func(p portRange) bool { return p.first <= port && port <= p.last })
}

func (r *rule) hasName(name string) bool {
	return slices.ContainsFunc(r.names, func(pattern string) bool { return matchesName(pattern, name) })
}
