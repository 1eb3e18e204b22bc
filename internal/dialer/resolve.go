// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// lookupInterval is the pause between two lookups of a server's name, and
	// lookupRetry the pause where no address of it is known yet.
	lookupInterval = 10 * time.Second
	lookupRetry    = 2 * time.Second
	// lookupTimeout outlasts the resolver, which gives up by itself: by default after
	// 5 s for each of 2 attempts at each of 3 nameservers, for each of 7 names where
	// the search list has 6 (resolv.conf(5)).
	lookupTimeout = 4 * time.Minute
	// lookupAge is how old a lookup must be for a failing endpoint to be a
	// reason for another.
	lookupAge = time.Second
)

// resolver is the part of net.Resolver by which servers are found.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// InsideShootError refuses a proxy-server whose address is one of the shoot's:
// the connection to it would have to pass through itself.
type InsideShootError struct {
	Server  string     // as configured
	Address netip.Addr // what it resolves to
	CIDR    cidr.Entry // the shoot CIDR that contains it
	Alone   bool       // the shoot CIDRs have no other address

	names tunnel.SettingNames
}

// Error names the server, its address and the flag that is in the way.
func (e *InsideShootError) Error() string {
	sentence := fmt.Sprintf("%s %q: its address %s lies inside the shoot's %s %s; correct the CIDR", e.names.ProxyServer, e.Server, e.Address, e.CIDR.List, e.CIDR.Prefix)
	if !e.Alone {
		sentence += ", or exclude the server's address with " + e.names.ExcludeCIDR
	}
	return sentence
}

// find looks the server's name up and follows what has changed. Where that fails, the
// addresses that were known stay.
func (s *server) find(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs, err := s.resolve(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if len(s.known()) > 0 && s.complaint != err.Error() && ctx.Err() == nil {
			s.complaint = err.Error()
			s.dialer.log.Warn("proxy-server's name could not be resolved again; the addresses known so far stay", "server", s.Name, "error", err)
		}
		return err
	}
	s.complaint = ""
	s.follow(addrs)
	return nil
}

// lookup is one of the server's lookups.
func (s *server) lookup() *tunnel.Error {
	ctx, cancel := context.WithTimeout(s.dialer.life, lookupTimeout)
	defer cancel()
	err := s.find(ctx)
	if err == nil {
		return nil
	}
	e := s.unresolved(err)
	if len(s.known()) == 0 {
		s.tell(e)
	}
	return e
}

// unresolved is the error of a lookup. Package net keeps no errno of the resolver's
// own sockets, but its words.
func (s *server) unresolved(err error) *tunnel.Error {
	for _, lack := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS} {
		if strings.Contains(err.Error(), lack.Error()) {
			return s.dialer.connector.Shortage(s.Server, fmt.Errorf("%w (%w)", err, lack))
		}
	}
	return &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: s.Name, Err: err, Fault: tunnel.FaultUnreachable}
}

// refresh looks the name up again, in the background, where that was not done
// just now.
func (s *server) refresh() {
	if s.Network != tunnel.NetworkUnix && s.dialer.life.Err() == nil {
		s.lookups.beginAfter(lookupAge)
	}
}

// follow makes addrs the server's endpoints; the caller holds s.mu. An address
// that went away gets no more dials, but the connections through it live on.
func (s *server) follow(addrs []netip.AddrPort) {
	old := s.known()
	next := make([]*endpoint, 0, len(addrs))
	changed := len(old) != len(addrs)
	for _, a := range addrs {
		i := slices.IndexFunc(old, func(e *endpoint) bool { return e.Addr == a })
		if i >= 0 {
			next = append(next, old[i])
			continue
		}
		next, changed = append(next, newEndpoint(s, a)), true
	}
	if !changed {
		return // but for their order, perhaps
	}
	s.endpoints.Store(&next)
	s.dialer.foundOnce.Do(func() { close(s.dialer.found) })
	for _, e := range old {
		if !slices.Contains(next, e) {
			e.depart()
			e.close()
		}
	}
	if len(old) > 0 {
		s.dialer.log.Info("proxy-server's addresses have changed", "server", s.Name, "addresses", addrs)
	}
	select {
	case s.changed <- struct{}{}:
	default: // the watch knows already
	}
}

// await waits for an address of any server, where none of them has one yet, and for
// s' own lookup at most.
func (s *server) await(ctx context.Context) *tunnel.Error {
	current := s.lookups.begin()
	select {
	case <-s.dialer.found: // perhaps not all of them yet
		return nil
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return s.dialer.connector.Unreachable(ctx, s.Server, fmt.Errorf("lookup %s: no answer yet: %w", s.Address, ctx.Err()))
	}
}

// refusal waits for the lookup that is the first, and returns why the server must not
// be used. Later ones only leave an address out that is the shoot's.
func (s *server) refusal(ctx context.Context) error {
	if s.Network == tunnel.NetworkUnix || len(s.known()) > 0 {
		return nil
	}
	first := s.lookups.begin()
	select {
	case <-first.done:
	case <-ctx.Done():
		return nil
	}
	if first.err != nil {
		if inside, ok := errors.AsType[*InsideShootError](first.err); ok {
			return inside
		}
	}
	return nil
}
