// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Owner is the endpoint that a Dialer dials through.
type Owner interface {
	// NewConnection connects to the endpoint. It returns the protocol that ALPN chose.
	NewConnection(ctx context.Context) (net.Conn, string, *tunnel.Error)
	// Gone ends when the endpoint is not the server's any more.
	Gone() context.Context
	// Several reports whether a dial that fails can go to another endpoint.
	Several() bool
	// ConnectionEnded is called when a connection that Dial has returned is over.
	ConnectionEnded()
}

// Shared is what the Dialers of a process share.
type Shared struct {
	Background *sync.WaitGroup // counts what goes on behind a Close
	Life       context.Context // ends when the process is about to end
	Files      func() int      // returns the version of the TLS files
	MostSpares int             // ready-made connections of an endpoint
}

// Dialer dials through one endpoint in http-connect mode.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *Shared
	spares *spares
}

// New returns a Dialer for the endpoint to, whose dialer is owner.
func New(to *serverconn.Endpoint, owner Owner, shared *Shared) *Dialer {
	e := &Dialer{Endpoint: to, owner: owner, shared: shared}
	e.spares = newSpares(e)
	return e
}

// Dial connects to dst, on a ready-made connection if there is one.
func (e *Dialer) Dial(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	if ready := e.spares.take(ctx); ready != nil {
		conn, err, dead := e.dialReady(ctx, ready, dst, hold)
		if !dead {
			return conn, err, serverconn.Fits
		}
	}
	conn, alpn, err := e.owner.NewConnection(ctx)
	if err != nil {
		return nil, err, serverconn.Fits
	}
	if e.Server.Mode == tunnel.ModeAuto && alpn == serverconn.ALPNHTTP2 {
		_ = conn.Close()
		return nil, nil, serverconn.SpeaksHTTP2
	}
	defer e.spares.replenish()
	tunnelled, err := e.dialConnect(ctx, conn, dst, hold)
	if err != nil && (errors.Is(err, ErrSettings) || errors.Is(err, ErrNoAnswer)) {
		return nil, err, serverconn.Unclear
	}
	return tunnelled, err, serverconn.Fits
}

// Greet returns nil if the server on conn answers. It ends conn.
func (e *Dialer) Greet(ctx context.Context, conn net.Conn, _ int) *tunnel.Error {
	defer e.shared.part(conn)
	return e.greetHTTP(ctx, conn)
}

// Probe is Greet, which keeps nothing.
func (e *Dialer) Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	return e.Greet(ctx, conn, files)
}

// Keeps returns false: a ready-made connection may be dead.
func (*Dialer) Keeps() bool { return false }

// Standing returns nil: no connection says whether the server can be reached.
func (*Dialer) Standing() <-chan struct{} { return nil }

// Spares returns how many ready-made connections there are, and how many dials wait for
// one that is being made.
func (e *Dialer) Spares() (ready, waiting int) {
	e.spares.mu.Lock()
	defer e.spares.mu.Unlock()
	return len(e.spares.ready), len(e.spares.waiting)
}

// Failed is called when the endpoint could not be reached, or did not serve a dial.
func (e *Dialer) Failed() { e.spares.drop() }

// Close ends the ready-made connections.
func (e *Dialer) Close() { e.spares.close() }

// settingsHead is how many bytes isSettings needs.
const settingsHead = 9

// isSettings reports whether p begins like HTTP/2's first frame of a server, which
// is SETTINGS (RFC 9113, sections 3.4 and 6.5). grpc-go's sends it before it has
// read anything (NewServerTransport).
func isSettings(p []byte) bool {
	const setting, most = 6, 1 << 10 // bytes
	if len(p) < settingsHead {
		return false
	}
	n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
	return n%setting == 0 && n <= most && p[3] == serverconn.SettingsFrame && string(p[4:settingsHead]) == "\x00\x00\x00\x00\x00"
}
