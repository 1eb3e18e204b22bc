// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// Resolver resolves the names of targets. [net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

const (
	// maxAddresses is how many addresses of a name are tried.
	maxAddresses = 8
	// leastAttempt is the least time for one of several addresses, if there is as much.
	leastAttempt = 500 * time.Millisecond
	// shortestKeepaliveIdle and longestKeepaliveIdle bound the idle time after which the
	// kernel asks whether a target is there. After so many unanswered probes, an interval
	// apart, it ends the connection. sockio.SpreadIdle says why the time is random.
	shortestKeepaliveIdle = 20 * time.Second
	longestKeepaliveIdle  = 30 * time.Second
	keepaliveInterval     = 10 * time.Second
	keepaliveCount        = 9
)

// targets connects to the destinations that clients ask for.
type targets struct {
	resolver Resolver
	timeout  time.Duration
	ownPorts []uint16 // of the exit's listeners
}

// dial connects to the target, if grant allows it, and returns the address in use. Its
// error is a *refusal.
func (d *targets) dial(ctx context.Context, grant *exitpolicy.Grant, t target) (*net.TCPConn, netip.AddrPort, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	addresses, err := d.addresses(ctx, grant, t)
	if err != nil {
		return nil, netip.AddrPort{}, refusalOf(err)
	}
	var first error
	for i, address := range addresses {
		var conn *net.TCPConn
		if conn, err = attempt(ctx, address, len(addresses)-i); err == nil {
			return conn, address, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, addresses[0], refusalOf(first)
}

// addresses returns the addresses of the target that grant allows, at least one.
func (d *targets) addresses(ctx context.Context, grant *exitpolicy.Grant, t target) ([]netip.AddrPort, error) {
	if t.name == "" {
		address := netip.AddrPortFrom(t.addr, t.port)
		if err := d.check(grant, "", address); err != nil {
			return nil, denied(err)
		}
		return []netip.AddrPort{address}, nil
	}
	if err := grant.CheckName(t.name, t.port); err != nil {
		return nil, denied(err)
	}
	found, err := d.resolver.LookupNetIP(ctx, "ip", t.name+".") // without the search list
	if err != nil {
		return nil, refuse(statusBadGateway, ErrorDNS, "%s", lookupProblem(err))
	}
	var allowed []netip.AddrPort
	var forbidden error
	for _, a := range found {
		address := netip.AddrPortFrom(a.Unmap().WithZone(""), t.port)
		if err := d.check(grant, t.name, address); err != nil {
			forbidden = err
		} else if len(allowed) < maxAddresses && !slices.Contains(allowed, address) {
			allowed = append(allowed, address)
		}
	}
	switch {
	case len(allowed) > 0:
		return allowed, nil
	case forbidden != nil:
		return nil, denied(forbidden)
	default:
		return nil, refuse(statusBadGateway, ErrorDNS, "the name has no address")
	}
}

// check returns nil if grant allows an address.
func (d *targets) check(grant *exitpolicy.Grant, name string, to netip.AddrPort) error {
	if err := grant.CheckAddress(name, to); err != nil {
		return err
	}
	if slices.Contains(d.ownPorts, to.Port()) && isOwn(to.Addr()) {
		return grant.CheckOwn(name, to)
	}
	return nil
}

// isOwn reports whether an address is one of this host, or may be.
func isOwn(a netip.Addr) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(own, func(n net.Addr) bool {
		prefix, err := netip.ParsePrefix(n.String())
		return err == nil && prefix.Addr().Unmap() == a
	})
}

// denied returns the answer for a destination that the policy does not allow.
func denied(err error) *refusal {
	if exitpolicy.IsAddress(err) {
		return refuse(statusForbidden, ErrorIPProhibited, "%s", err)
	}
	return refuse(statusForbidden, ErrorDenied, "%s", err)
}

// lookupProblem says why a name was not resolved, without the name and the DNS server.
func lookupProblem(err error) string {
	dns, ok := errors.AsType[*net.DNSError](err)
	switch {
	case ok && dns.IsNotFound:
		return "the name does not exist"
	case errors.Is(err, context.DeadlineExceeded), ok && dns.IsTimeout:
		return "no DNS server answered in time"
	default:
		return "no DNS server gave an answer"
	}
}

// attempt connects to the first of left addresses, which share what is left of the time.
func attempt(ctx context.Context, address netip.AddrPort, left int) (*net.TCPConn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		remaining := time.Until(deadline)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(remaining/time.Duration(left), min(leastAttempt, remaining)))
		defer cancel()
	}
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: sockio.SpreadIdle(shortestKeepaliveIdle, longestKeepaliveIdle),
		Interval: keepaliveInterval, Count: keepaliveCount,
	}}
	conn, err := dialer.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}
