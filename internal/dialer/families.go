// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// familyPause is how long a lookup of both families may take before each is asked
// for by itself. One of them may be lost, and the lookup of both waits for it.
//
// Both together are asked first because only they are sure to be of one name: with a
// search list, each family by itself may be another host's.
const familyPause = 500 * time.Millisecond

// networks are what package net calls lookups of one family.
var networks = [...]string{"ip4", "ip6"}

// found is what a lookup came to.
type found struct {
	ips []netip.Addr
	err error
}

// resolve returns the server's addresses, at least one and each once, or an
// *InsideShootError where one of them is the shoot's. What comes of one family while
// the other is awaited is used at once.
func (s *server) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	both := s.ask(ctx, "ip", host)
	timer := time.NewTimer(familyPause)
	defer timer.Stop()
	var asked [len(networks)]<-chan found // nil where it was not asked, or has answered
	var answers [len(networks)]*found
	take := func(i int, answer found) {
		asked[i], answers[i] = nil, &answer
		if answer.err == nil {
			s.expand(answer.ips, uint16(port))
		}
	}
	for {
		select {
		case answer := <-both:
			// A family that is missing may have been lost, which only its own answer says.
			for i, network := range networks {
				missed := answer.err == nil && s.knows(network) && !has(answer.ips, network)
				if asked[i] == nil && answers[i] == nil && missed {
					asked[i] = s.ask(ctx, network, host)
				}
				if asked[i] != nil && (missed || answer.err != nil) {
					own := <-asked[i]
					answers[i] = &own
				}
			}
			return s.settle(host, answer, answers, uint16(port))
		case <-timer.C:
			for i, network := range networks {
				asked[i] = s.ask(ctx, network, host)
			}
		case answer := <-asked[0]:
			take(0, answer)
		case answer := <-asked[1]:
			take(1, answer)
		}
	}
}

// ask begins a lookup.
func (s *server) ask(ctx context.Context, network, host string) <-chan found {
	answer := make(chan found, 1)
	s.dialer.background.Go(func() {
		ips, err := s.dialer.resolver.LookupNetIP(ctx, network, host)
		answer <- found{ips, err}
	})
	return answer
}

// is reports whether ip is of the family that network stands for.
func is(network string, ip netip.Addr) bool { return (network == "ip4") == ip.Unmap().Is4() }

// has reports whether one of ips is of the family that network stands for.
func has(ips []netip.Addr, network string) bool {
	return slices.ContainsFunc(ips, func(ip netip.Addr) bool { return is(network, ip) })
}

// knows reports whether an address of a family is known.
func (s *server) knows(network string) bool {
	return slices.ContainsFunc(s.known(), func(e *endpoint) bool { return is(network, e.Addr.Addr()) })
}

// settle returns the addresses after a lookup. A family that has failed keeps those
// that were known of it; one of which DNS says that it has none does not.
func (s *server) settle(host string, both found, own [len(networks)]*found, port uint16) ([]netip.AddrPort, error) {
	ips := both.ips
	for i := range networks {
		if both.err != nil && own[i] != nil && own[i].err == nil {
			ips = append(ips, own[i].ips...)
		}
	}
	if len(ips) == 0 {
		if both.err == nil {
			both.err = fmt.Errorf("lookup %s: no address", host)
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

// outside returns addresses for ips, each once, or an *InsideShootError where one of
// them is the shoot's.
func (s *server) outside(ips []netip.Addr, port uint16) ([]netip.AddrPort, error) {
	var addrs []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		if entry, inside := s.dialer.cidrs.Covering(ip); inside {
			return nil, &InsideShootError{Server: s.Name, Address: ip, CIDR: entry, Alone: !s.dialer.cidrs.Spares(netip.PrefixFrom(ip, ip.BitLen())), names: s.dialer.names}
		}
		if a := netip.AddrPortFrom(ip, port); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// expand adds addresses to those that are known, while a lookup goes on.
func (s *server) expand(ips []netip.Addr, port uint16) {
	addrs, err := s.outside(ips, port)
	if err != nil {
		return // and the lookup ends with that
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
		s.follow(all)
	}
}
