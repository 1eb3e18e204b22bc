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
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// lookupInterval is the pause between two lookups of a server's name. lookupRetry
	// is the pause while no address of it is known.
	lookupInterval = 10 * time.Second
	lookupRetry    = 2 * time.Second
	// lookupTimeout is longer than the resolver's own. By default that is 5 s for each
	// of 2 attempts at each of 3 nameservers. If the search list has 6 names, it is as
	// much for each of 7 names (resolv.conf(5)).
	lookupTimeout = 4 * time.Minute
	// lookupAge is how old a lookup must be until a failing endpoint causes another.
	lookupAge = time.Second
)

// resolver is the part of net.Resolver that looks up servers.
type resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// InsideShootError refuses a proxy-server whose address is inside the shoot: a
// connection to it would have to go through itself.
type InsideShootError struct {
	Server  string     // as configured
	Address netip.Addr // what it resolves to
	CIDR    cidr.Entry // the shoot CIDR that contains it
	Alone   bool       // the shoot CIDRs have no other address

	names tunnel.SettingNames
}

// Error names the server, its address and the settings that may be wrong.
func (e *InsideShootError) Error() string {
	sentence := fmt.Sprintf("%s %q: its address %s lies inside the shoot's %s %s; correct the CIDR", e.names.ProxyServer, e.Server, e.Address, e.CIDR.List, e.CIDR.Prefix)
	if !e.Alone {
		sentence += ", or exclude the server's address with " + e.names.ExcludeCIDR
	}
	return sentence
}

// update looks the server's name up and stores the addresses. If the lookup fails, the
// known addresses stay.
func (s *server) update(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs, err := s.resolve(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if len(s.known()) > 0 && s.lookupError != err.Error() && ctx.Err() == nil {
			s.lookupError = err.Error()
			s.shared.log.Warn("proxy-server's name could not be resolved again; the addresses known so far stay", "server", s.Name, "error", s.unresolved(err).Err)
		}
		return err
	}
	s.lookupError = ""
	s.setAddresses(addrs)
	return nil
}

// lookup is the body of an attempt of lookups.
func (s *server) lookup() *tunnel.Error {
	ctx, cancel := context.WithTimeout(s.shared.life, lookupTimeout)
	defer cancel()
	err := s.update(ctx)
	if err == nil {
		return nil
	}
	e := s.unresolved(err)
	if len(s.known()) == 0 {
		s.report(e)
	}
	return e
}

// unresolved returns the error of a lookup. Package net keeps the text but not the
// errno of the resolver's own sockets.
func (s *server) unresolved(err error) *tunnel.Error {
	for _, lack := range []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.ENOBUFS} {
		if strings.Contains(err.Error(), lack.Error()) {
			return s.shared.connector.Shortage(s.Server, fmt.Errorf("%w (%w)", err, lack))
		}
	}
	return &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: s.Name, Err: s.withNextStep(err), Fault: tunnel.FaultUnreachable}
}

// withNextStep adds to the error of a lookup what a person can do about it. An
// [*InsideShootError] says that by itself.
func (s *server) withNextStep(err error) error {
	if _, ok := errors.AsType[*InsideShootError](err); ok {
		return err
	}
	next := ": see whether a nameserver of the pod's /etc/resolv.conf answers, and whether NetworkPolicies let the pod reach it"
	if isNotFound(err) {
		next = fmt.Sprintf(": correct the host in %s, or write a Service's as NAME.NAMESPACE.svc", s.shared.names.ProxyServer)
	}
	return fmt.Errorf("%w%s", brief{err, clip.Clause - len(next)}, next)
}

// brief limits the length of a lookup's error, whose text has the name and the addresses
// of sockets. What a person can do stands behind it and must not be cut off.
type brief struct {
	error
	most int // bytes of Error
}

// Error returns the text of the error, or its beginning if it is too long.
func (e brief) Error() string {
	text := e.error.Error()
	if len(text) <= e.most {
		return text
	}
	return clip.Text(text, e.most-len("… (1000 bytes more)"))
}

// Unwrap returns the error of the lookup.
func (e brief) Unwrap() error { return e.error }

// refresh looks the name up again in the background, unless that was done just now.
func (s *server) refresh() {
	if s.Network != tunnel.NetworkUnix && s.shared.life.Err() == nil {
		s.lookups.beginAfter(lookupAge)
	}
}

// setAddresses makes addrs the server's endpoints. An address that is left out gets no
// new dials, but its connections go on. The caller holds s.mu.
func (s *server) setAddresses(addrs []netip.AddrPort) {
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
		return // their order may differ
	}
	s.endpoints.Store(&next)
	s.shared.addressOnce.Do(func() { close(s.shared.addressKnown) })
	for _, e := range old {
		if !slices.Contains(next, e) {
			e.remove()
			e.close()
		}
	}
	if len(old) > 0 {
		s.shared.log.Info("proxy-server's addresses have changed", "server", s.Name, "addresses", addrs)
	}
	select {
	case s.changed <- struct{}{}:
	default: // the watch has not read the last one yet
	}
}

// awaitAddress waits until an address of any server is known, or until the lookup of s
// has ended. It is for the time when no server has an address.
func (s *server) awaitAddress(ctx context.Context) *tunnel.Error {
	current := s.lookups.begin()
	select {
	case <-s.shared.addressKnown: // other servers may follow
		return nil
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return s.shared.connector.Unreachable(ctx, s.Server, s.withNextStep(fmt.Errorf("lookup %s: no answer yet: %w", s.Address, ctx.Err())))
	}
}

// insideShoot waits for the first lookup, and returns an *InsideShootError if that
// found one. A later lookup that finds an address inside the shoot fails as a whole, and
// the known addresses stay.
func (s *server) insideShoot(ctx context.Context) error {
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
