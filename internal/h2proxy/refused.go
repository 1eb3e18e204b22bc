// SPDX-License-Identifier: Apache-2.0

package h2proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/proxystatus"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// probeTarget is dialled once on a connection that shows whether a server accepts CONNECT.
// The proxy dials it on its own loopback device, where nothing listens on port 1 (tcpmux,
// RFC 1078). No packet leaves the proxy's host. Any answer of a proxy is good.
const probeTarget = "127.0.0.1:1"

// What to do about a refusal.
const (
	seeTarget  = "see whether the target's node is up, and whether a NetworkPolicy or firewall drops connections from the proxy"
	seeWay     = "check that the address exists, and that the proxy has a route to it: its VPN, its network policies"
	allow      = "allow the destination in the proxy's rules: RBAC of Envoy, or what the proxy has in its place"
	seeProxy   = "look at the proxy's log: it is overloaded, or cannot do its work"
	noPassword = "let the proxy accept the client certificate instead of a password: proxy-client sends no Proxy-Authorization"
)

// ErrSilent is wrapped by the error of a dial that the proxy has not answered in time. It
// is most likely the target that is silent.
var ErrSilent = errors.New("the proxy has not answered the dial: it may be trying to reach the target for longer")

var errNotProxy = errors.New("it is no proxy that accepts CONNECT over HTTP/2")

// notProxy returns the error of a server that has shown by err that it is no proxy.
func (d *Dialer) notProxy(err error) error {
	return fmt.Errorf("%w (%w), which %s needs: is the port right? For a proxy-server of konnectivity use %s",
		errNotProxy, err, d.ModeSetting(), d.OtherMode(tunnel.ModeGRPC))
}

// identify returns an error if the server on c does not accept CONNECT.
func (d *Dialer) identify(ctx context.Context, c *h2connect.Conn) *tunnel.Error {
	s, err := c.Dial(ctx, probeTarget)
	if err == nil {
		_ = s.Close()
		return nil
	}
	refusal, refused := errors.AsType[*h2connect.Refusal](err)
	reset, wasReset := errors.AsType[*h2connect.Reset](err)
	if wasReset {
		switch reason, _ := reset.Meaning(); reason {
		case tunnel.ReasonUnreachable: // it has tried, as a proxy does
			return nil
		case tunnel.ReasonMaxConnections:
			return d.failed(ctx, err)
		}
	}
	switch {
	case refused && d.refused(refusal).Fault != tunnel.FaultRefusal:
		return nil
	case refused && proxystatus.WantsPassword(refusal.Status):
		is := d.refused(refusal)
		is.Fault = tunnel.FaultUnusable
		return is
	case c.Err() != nil:
		return d.noHTTP2Answer(ctx, c.Err())
	case !refused && ctx.Err() != nil:
		return nil // it waits, as a proxy may
	case errors.Is(err, h2connect.ErrUnprocessed):
		return d.Unreachable(ctx, fmt.Errorf("it ends each connection at once: %w", err))
	default:
		wrong := d.WrongServer(d.notProxy(err))
		wrong.Next = d.NotAProxy()
		return wrong
	}
}

// failed returns the error of a dial that ended with err.
func (d *Dialer) failed(ctx context.Context, err error) *tunnel.Error {
	is := &tunnel.Error{Server: d.Server.Name}
	refusal, refused := errors.AsType[*h2connect.Refusal](err)
	reset, wasReset := errors.AsType[*h2connect.Reset](err)
	switch {
	case refused:
		return d.refused(refusal)
	case wasReset:
		is.Reason, is.Fault = reset.Meaning()
		is.Err, is.Next = reset, seeProxy
		switch is.Reason {
		case tunnel.ReasonMaxConnections:
			is.Err = fmt.Errorf("the proxy takes no more connections now: %w", reset)
		case tunnel.ReasonProtocol:
			is.Next = d.NotAProxy()
		case tunnel.ReasonUnreachable:
			is.Err, is.Next = fmt.Errorf("the proxy could not connect to the target: %w", reset), seeWay
		}
	case errors.Is(ctx.Err(), context.Canceled):
		is.Reason, is.Err = tunnel.ReasonCancelled, context.Canceled
	case ctx.Err() != nil:
		// The link is checked by PINGs, so the proxy is alive.
		is.Reason, is.Err, is.Next = tunnel.ReasonTimeout, ErrSilent, seeTarget
	default:
		is.Reason, is.Fault, is.Err = tunnel.ReasonServerUnreachable, tunnel.FaultServer, err
	}
	return is
}

// refused returns the error of a refusal. What Proxy-Status says exactly comes before the
// status.
func (d *Dialer) refused(r *h2connect.Refusal) *tunnel.Error {
	is := &tunnel.Error{Server: d.Server.Name, Err: fmt.Errorf("dial refused: %w", r)}
	reason, fault, known := proxystatus.Meaning(r.ProxyError)
	if !known {
		reason, fault = proxystatus.MeaningOfStatus(r.Status)
	}
	is.Reason, is.Fault = reason, fault
	switch {
	case proxystatus.WantsPassword(r.Status):
		is.Next = noPassword
	case fault == tunnel.FaultRefusal:
		is.Err, is.Next = d.notProxy(r), d.NotAProxy()
	case reason == tunnel.ReasonForbidden:
		is.Next = allow
	case reason == tunnel.ReasonTimeout:
		is.Next = seeTarget
	case reason == tunnel.ReasonUnreachable:
		is.Next = seeWay
	case fault == tunnel.FaultServer:
		is.Next = seeProxy
	}
	return is
}
