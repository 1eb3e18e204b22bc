// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"context"
	"errors"
	"net"

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Owner is the endpoint that a Dialer dials through.
type Owner interface {
	// Connect connects to the endpoint and does the handshake. It returns the protocol
	// that ALPN chose.
	Connect(ctx context.Context) (net.Conn, string, *tunnel.Error)
	// Gone ends when the server's name does not resolve to the address any more.
	Gone() context.Context
	// Several reports whether a dial that fails can go to another endpoint.
	Several() bool
	// ConnectionEnded is called when a connection that Dial has returned has ended.
	ConnectionEnded()
}

// Dialer dials through one endpoint in http-connect mode.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *spare.Shared
	spares *spare.Pool
}

// New returns a Dialer for the endpoint to, which owner judges.
func New(to *serverconn.Endpoint, owner Owner, shared *spare.Shared) *Dialer {
	return &Dialer{Endpoint: to, owner: owner, shared: shared, spares: spare.New(to, owner, shared)}
}

// Dial dials dst, on a spare connection if there is one.
func (d *Dialer) Dial(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	if ready := d.spares.Take(ctx); ready != nil {
		conn, err, dead, fit := d.dialOnSpare(ctx, ready, dst, hold)
		if !dead {
			return conn, err, fit
		}
	}
	conn, alpn, err := d.owner.Connect(ctx)
	if err != nil {
		return nil, err, serverconn.Fits
	}
	if d.Server.Mode == tunnel.ModeAuto && alpn == serverconn.ALPNHTTP2 {
		_ = conn.Close()
		return nil, nil, serverconn.SpeaksHTTP2
	}
	defer d.spares.Replenish()
	tunnelled, err, fit := d.dialOn(ctx, conn, dst, hold)
	if err != nil && (errors.Is(err, http1.ErrSettings) || errors.Is(err, http1.ErrNoAnswer)) {
		return nil, err, serverconn.Unclear
	}
	return tunnelled, err, fit
}

// Greet returns nil if the server on conn answers. It ends conn.
func (d *Dialer) Greet(ctx context.Context, conn net.Conn, _ int) *tunnel.Error {
	defer d.shared.Part(conn)
	_, err := http1.Greet(ctx, d.Endpoint, conn)
	return err
}

// Greeted is Greet for a server that has already answered.
func (*Dialer) Greeted(context.Context, http1.Answer) *tunnel.Error { return nil }

// Probe is Greet, which always ends conn.
func (d *Dialer) Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	return d.Greet(ctx, conn, files)
}

// Keeps returns false, because a spare connection may be dead.
func (*Dialer) Keeps() bool { return false }

// Standing returns nil, because no connection shows that the server can be reached.
func (*Dialer) Standing() <-chan struct{} { return nil }

// Spares returns how many spare connections there are, and how many dials wait for one
// that is being made.
func (d *Dialer) Spares() (ready, waiting int) { return d.spares.Counts() }

// Failed is called when a check failed, or when the endpoint did not serve a dial. It
// ends the spare connections.
func (d *Dialer) Failed() { d.spares.Drop() }

// Close ends the spare connections.
func (d *Dialer) Close() { d.spares.Close() }
