// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
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

// Shared is what the Dialers of a process share.
type Shared struct {
	Background *sync.WaitGroup // counts work that goes on after a Close
	Life       context.Context // ends when the process is about to end
	Files      func() int      // returns the version of the TLS files
	MostSpares int             // spare connections of an endpoint, at most
}

// Dialer dials through one endpoint in http-connect mode.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *Shared
	spares *spares
}

// New returns a Dialer for the endpoint to, which owner judges.
func New(to *serverconn.Endpoint, owner Owner, shared *Shared) *Dialer {
	return &Dialer{Endpoint: to, owner: owner, shared: shared, spares: newSpares(to, owner, shared)}
}

// Dial dials dst, on a spare connection if there is one.
func (d *Dialer) Dial(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	if ready := d.spares.take(ctx); ready != nil {
		conn, err, dead := d.dialOnSpare(ctx, ready, dst, hold)
		if !dead {
			return conn, err, serverconn.Fits
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
	defer d.spares.replenish()
	tunnelled, err := d.dialOn(ctx, conn, dst, hold)
	if err != nil && (errors.Is(err, ErrSettings) || errors.Is(err, ErrNoAnswer)) {
		return nil, err, serverconn.Unclear
	}
	return tunnelled, err, serverconn.Fits
}

// Greet returns nil if the server on conn answers. It ends conn.
func (d *Dialer) Greet(ctx context.Context, conn net.Conn, _ int) *tunnel.Error {
	defer d.shared.part(conn)
	return d.greetHTTP(ctx, conn)
}

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
func (d *Dialer) Spares() (ready, waiting int) {
	d.spares.mu.Lock()
	defer d.spares.mu.Unlock()
	return len(d.spares.ready), len(d.spares.waiting)
}

// Failed is called when a check failed, or when the endpoint did not serve a dial. It
// ends the spare connections.
func (d *Dialer) Failed() { d.spares.drop() }

// Close ends the spare connections.
func (d *Dialer) Close() { d.spares.close() }

// settingsHead is how many bytes isSettings needs.
const settingsHead = 9

// isSettings reports whether p begins like the first HTTP/2 frame of a server, which is
// SETTINGS (RFC 9113, sections 3.4 and 6.5). A server with grpc-go sends it before it
// has read anything (NewServerTransport).
func isSettings(p []byte) bool {
	const setting, most = 6, 1 << 10 // bytes
	if len(p) < settingsHead {
		return false
	}
	n := int(p[0])<<16 | int(p[1])<<8 | int(p[2])
	return n%setting == 0 && n <= most && p[3] == serverconn.SettingsFrame && string(p[4:settingsHead]) == "\x00\x00\x00\x00\x00"
}
