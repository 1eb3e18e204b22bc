// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
)

const (
	// lookupInterval is the pause between two lookups of a server's name, and
	// lookupRetry the pause where no address of it is known yet.
	lookupInterval = 10 * time.Second
	lookupRetry    = 2 * time.Second
	lookupTimeout  = 5 * time.Second
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
}

// Error names the server, its address and the flag that is in the way.
func (e *InsideShootError) Error() string {
	return fmt.Sprintf("--proxy-server %q: its address %s lies inside the shoot's %s %s; correct the CIDR, or exclude the server's address with --exclude-cidr",
		e.Server, e.Address, e.CIDR.Flag, e.CIDR.Prefix)
}

// resolve returns the server's addresses, at least one and each once, or an
// *InsideShootError where one of them is the shoot's.
func (s *server) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return nil, err
	}
	ips, err := s.dialer.resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addrs := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		ip = ip.Unmap()
		if entry, inside := s.dialer.cidrs.Covering(ip); inside {
			return nil, &InsideShootError{Server: s.Name, Address: ip, CIDR: entry}
		}
		if a := netip.AddrPortFrom(ip, uint16(port)); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("lookup %s: no address", host)
	}
	return addrs, nil
}

// find resolves the server's name and follows what has changed. Where that
// fails, the addresses that were known stay.
func (s *server) find(ctx context.Context) error {
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
func (s *server) lookup() *Error {
	ctx, cancel := context.WithTimeout(s.dialer.life, lookupTimeout)
	defer cancel()
	err := s.find(ctx)
	if err == nil {
		return nil
	}
	e := &Error{Reason: ReasonServerUnreachable, Server: s.Name, Err: err, elsewhere: true, unreachable: true}
	if len(s.known()) == 0 {
		s.tell(e)
	}
	return e
}

// refresh looks the name up again, in the background, where that was not done
// just now.
func (s *server) refresh() {
	if s.Network != networkUnix && s.dialer.life.Err() == nil {
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
		i := slices.IndexFunc(old, func(e *endpoint) bool { return e.addr == a })
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
	for _, e := range old {
		if !slices.Contains(next, e) {
			e.depart()
			e.spares.close()
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

// await waits for addresses of a server of which none are known yet.
func (s *server) await(ctx context.Context) *Error {
	return s.lookups.wait(ctx, func() *Error {
		return s.unreachable(ctx, fmt.Errorf("resolving its name: %w", ctx.Err()))
	})
}
