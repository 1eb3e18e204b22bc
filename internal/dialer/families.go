// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// familyPause is how long a lookup of both families may take until each is also looked
// up by itself. The answer for one family may be lost, and the lookup of both waits for
// it.
//
// Both are looked up together first, because only then are they sure to belong to one
// name. With a search list, a lookup of one family may find another host.
const familyPause = 500 * time.Millisecond

// networks are the names of the two families for lookups of package net.
var networks = [...]string{"ip4", "ip6"}

// lookupResult is the result of a lookup.
type lookupResult struct {
	ips []netip.Addr
	err error
}

// resolve returns the server's addresses, at least one and each once, or an
// *InsideShootError if one of them is inside the shoot. Addresses of one family are
// used at once, while the other is awaited.
func (s *server) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	both := s.startLookup(ctx, "ip", host)
	timer := time.NewTimer(familyPause)
	defer timer.Stop()
	var asked [len(networks)]<-chan lookupResult // nil if it was not started, or has answered
	var answers [len(networks)]*lookupResult
	take := func(i int, answer lookupResult) {
		asked[i], answers[i] = nil, &answer
		if answer.err == nil {
			s.addAddresses(answer.ips, uint16(port))
		}
	}
	for {
		select {
		case answer := <-both:
			// The answer for a missing family may have been lost. Its own lookup tells.
			for i, network := range networks {
				missed := answer.err == nil && s.knows(network) && !has(answer.ips, network)
				if asked[i] == nil && answers[i] == nil && missed {
					asked[i] = s.startLookup(ctx, network, host)
				}
				if asked[i] != nil && (missed || answer.err != nil) {
					own := <-asked[i]
					answers[i] = &own
				}
			}
			return s.combine(host, answer, answers, uint16(port))
		case <-timer.C:
			for i, network := range networks {
				asked[i] = s.startLookup(ctx, network, host)
			}
		case answer := <-asked[0]:
			take(0, answer)
		case answer := <-asked[1]:
			take(1, answer)
		}
	}
}

// startLookup begins a lookup. The channel gets the result.
func (s *server) startLookup(ctx context.Context, network, host string) <-chan lookupResult {
	answer := make(chan lookupResult, 1)
	s.shared.background.Go(func() {
		ips, err := s.shared.resolver.LookupNetIP(ctx, network, host)
		answer <- lookupResult{ips, err}
	})
	return answer
}

// is reports whether ip is of the family that network names.
func is(network string, ip netip.Addr) bool { return (network == "ip4") == ip.Unmap().Is4() }

// has reports whether one of ips is of the family that network names.
func has(ips []netip.Addr, network string) bool {
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool { return is(network, ip) })
}

// knows reports whether an address of the family is known.
func (s *server) knows(network string) bool {
	return slices.ContainsFunc(s.known(), func(e *endpoint) bool { return is(network, e.Addr.Addr()) })
}

// combine returns the addresses after a lookup. A family whose lookup has failed keeps
// its known addresses. A family that DNS says does not exist keeps none.
func (s *server) combine(host string, both lookupResult, own [len(networks)]*lookupResult, port uint16) ([]netip.AddrPort, error) {
	ips := both.ips
	for i := range networks {
		if both.err != nil && own[i] != nil && own[i].err == nil {
			ips = append(ips, own[i].ips...)
		}
	}
	if len(ips) == 0 {
		if both.err == nil {
			both.err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
		}
		return nil, both.err
	}
	addrs, err := s.outside(ips, port)
	if err != nil {
		return nil, err
	}
	for i, network := range networks {
		if own[i] == nil || own[i].err == nil || isNotFound(own[i].err) || has(ips, network) {
			continue
		}
		for _, e := range s.known() {
			if is(network, e.Addr.Addr()) {
				addrs = append(addrs, e.Addr)
			}
		}
	}
	return addrs, nil
}

func isNotFound(err error) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound
}

// outside returns addresses for ips, each once, or an *InsideShootError if one of them
// is inside the shoot.
func (s *server) outside(ips []netip.Addr, port uint16) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		if entry, inside := s.shared.cidrs.Covering(ip); inside {
			return nil, &InsideShootError{Server: s.Name, Address: ip, CIDR: entry, Alone: !s.shared.cidrs.RemainsWithout(netip.PrefixFrom(ip, ip.BitLen())), names: s.shared.names}
		}
		if a := netip.AddrPortFrom(ip, port); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// addAddresses adds addresses to the known ones during a lookup.
func (s *server) addAddresses(ips []netip.Addr, port uint16) {
	addrs, err := s.outside(ips, port)
	if err != nil {
		return // the lookup ends with the same error
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []netip.AddrPort
	for _, e := range s.known() {
		all = append(all, e.Addr)
	}
	for _, a := range addrs {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	if len(all) > 0 {
		s.setAddresses(all)
	}
}
