// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// ProbeTarget is dialled once to find out whether a server accepts CONNECT. The proxy dials
// it on its own loopback device, where nothing listens on port 1 (tcpmux, RFC 1078). No
// packet leaves the proxy's host. Any answer that a proxy gives is good.
const ProbeTarget = tunnel.HostPort("127.0.0.1:1")

// Owner is the endpoint that a Dialer dials through.
type Owner interface {
	// Connect connects to the endpoint and does the handshake, in which it offers
	// HTTP/1.1 only. It returns the protocol that ALPN chose.
	Connect(ctx context.Context) (net.Conn, string, *tunnel.Error)
	// Gone ends when the server's name does not resolve to the address any more.
	Gone() context.Context
	// Several reports whether a dial that fails can go to another endpoint.
	Several() bool
	// ConnectionEnded is called when a connection that Dial has returned has ended.
	ConnectionEnded()
}

// Dialer dials through one standard proxy.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *spare.Shared
	spares *spare.Pool

	accepts  atomic.Bool // the last answer to CONNECT may be that of a proxy
	alive    alive
	proven   atomic.Bool            // an answer to CONNECT was that of a proxy, and of nothing else
	software atomic.Pointer[string] // as the proxy has called itself in the last greeting
	shown    atomic.Uint32          // serverconn.Fit: what Shown returns next
}

// New returns a Dialer for the endpoint to, which owner judges.
func New(to *serverconn.Endpoint, owner Owner, shared *spare.Shared) *Dialer {
	return &Dialer{Endpoint: to, owner: owner, shared: shared, spares: spare.New(to, owner, shared)}
}

// Dial dials dst, on a spare connection if there is one. It does not call hold: a dial that
// was given up ends at once, and the proxy's dial with it.
func (d *Dialer) Dial(ctx context.Context, dst tunnel.Target, _ tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	if ready := d.spares.Take(ctx); ready != nil {
		c := newConnection(d, ready.Conn)
		limited := d.owner.Several()
		if limited { // see connectmode: the proxy's kernel has so long to acknowledge the request
			serverconn.LimitSilence(c.conn, serverconn.AddressTimeout)
		}
		err := c.dial(ctx, dst)
		if err == nil && limited {
			serverconn.LimitSilence(c.conn, 0)
		}
		if dead := err != nil && c.noAnswer && ctx.Err() == nil; !dead {
			return c.result(err)
		}
	}
	conn, _, err := d.owner.Connect(ctx)
	if err != nil {
		return nil, err, serverconn.Fits
	}
	defer d.spares.Replenish()
	c := newConnection(d, d.NewConn(conn))
	err = c.dial(ctx, dst)
	if err != nil && (errors.Is(err, http1.ErrSettings) || errors.Is(err, http1.ErrNoAnswer)) {
		return nil, err, serverconn.Unclear
	}
	return c.result(err)
}

// result returns what Dial returns for a connection whose dial ended with err.
func (c *connection) result(err *tunnel.Error) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	if err != nil {
		return nil, err, c.fit
	}
	return c, nil, c.fit
}

// Greet returns nil if the server on conn is a proxy that accepts CONNECT. It ends conn.
func (d *Dialer) Greet(ctx context.Context, conn net.Conn, _ int) *tunnel.Error {
	defer d.shared.Part(conn)
	a, err := http1.Greet(ctx, d.Endpoint, conn)
	if err != nil {
		return err
	}
	return d.Greeted(ctx, a)
}

// Greeted is Greet for a server that has already answered with a. Whether the server accepts
// CONNECT is asked once, and again after a dial has shown that it does not.
func (d *Dialer) Greeted(ctx context.Context, a http1.Answer) *tunnel.Error {
	name := a.Server()
	d.software.Store(&name)
	if d.accepts.Load() {
		return nil
	}
	conn, _, err := d.owner.Connect(ctx)
	if err != nil {
		return err
	}
	c := newConnection(d, d.NewConn(conn))
	err = c.dial(ctx, ProbeTarget)
	d.shown.Store(uint32(c.fit))
	switch {
	case err == nil:
		d.shared.Part(conn)
		return nil
	case err.Fault == tunnel.FaultRefusal:
		err.Fault = tunnel.FaultUnusable
		return err
	case errors.Is(err, http1.ErrSettings):
		return d.WrongServer(fmt.Errorf("%w, which %s does not fit", http1.ErrSettings, d.Names().ModeIs(tunnel.ModeHTTPSProxy)))
	case err.Reason == tunnel.ReasonTLS, err.Reason == tunnel.ReasonProtocol, err.Fault.Unreachable():
		return err
	default: // a proxy's answer, or none in time: then it may well have one for other targets
		return nil
	}
}

// Shown returns what an answer to the CONNECT of a check tells of the server's kind, if there
// was one since the last call.
func (d *Dialer) Shown() serverconn.Fit { return serverconn.Fit(d.shown.Swap(uint32(serverconn.Fits))) }

// Proven reports whether the server has answered a CONNECT as only a proxy does. A web server
// may forbid CONNECT, as a proxy forbids a target.
func (d *Dialer) Proven() bool { return d.proven.Load() }

// Probe is Greet, which always ends conn.
func (d *Dialer) Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	return d.Greet(ctx, conn, files)
}

// Software returns the name of the proxy's software, or "" if the proxy does not tell.
func (d *Dialer) Software() string {
	if name := d.software.Load(); name != nil {
		return *name
	}
	return ""
}

// Keeps returns false, because a spare connection may be dead.
func (*Dialer) Keeps() bool { return false }

// Standing returns nil, because no connection shows that the proxy can be reached.
func (*Dialer) Standing() <-chan struct{} { return nil }

// Failed is called when a check failed, or when the endpoint did not serve a dial. It
// ends the spare connections.
func (d *Dialer) Failed() { d.spares.Drop() }

// Close ends the spare connections.
func (d *Dialer) Close() { d.spares.Close() }
