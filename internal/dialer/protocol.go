// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/connectmode"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// protocol is a way to speak to the server of one endpoint. The dialer picks the
// endpoint and judges it. What implements protocol dials through it, and knows neither
// other endpoints nor what is held against this one.
//
// In the other direction it calls the methods of an owner, which it was given: to connect
// and handshake as the dialer does, and to say that a connection which Dial has returned
// is over, and no load any more.
type protocol interface {
	// Greet takes over conn, on which nothing was said yet, and returns nil if the
	// server on it is one for this protocol. files is the version of the TLS files
	// that the handshake used. What serves later dials is kept, and anything else
	// is ended.
	Greet(ctx context.Context, conn net.Conn, files int) *tunnel.Error
	// Probe is Greet, but keeps nothing.
	Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error
	// Dial connects to dst. If the server does not speak the protocol, as far as can
	// be told, Fit says so.
	Dial(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit)
	// Standing returns a channel that is closed when a connection is lost that shows that
	// the server can be reached, or nil if there is none.
	Standing() <-chan struct{}
	// Keeps reports whether something is kept that may serve a dial although the
	// endpoint could not be reached just now.
	Keeps() bool
	// Failed is called when the endpoint could not be reached, or did not serve a dial.
	Failed()
	// Close ends what is kept for later dials. Connections that Dial has returned go on.
	Close()
}

// protocolsOf returns each protocol in which e's server may speak. A further protocol
// is one more line.
func protocolsOf(e *endpoint) map[tunnel.Mode]protocol {
	d := e.server.dialer
	return map[tunnel.Mode]protocol{
		tunnel.ModeGRPC:        grpcmode.New(e.Endpoint, e, &d.grpc),
		tunnel.ModeHTTPConnect: connectmode.New(e.Endpoint, e, &d.httpConnect),
	}
}

// standing returns a channel that is closed when a connection is lost that shows that
// the server can be reached, or nil if there is none.
func (e *endpoint) standing() <-chan struct{} {
	for _, p := range e.protocols {
		if lost := p.Standing(); lost != nil {
			return lost
		}
	}
	return nil
}

// keepsAny reports whether a protocol keeps what may serve a dial.
func (e *endpoint) keepsAny() bool {
	for _, p := range e.protocols {
		if p.Keeps() {
			return true
		}
	}
	return false
}

// failed tells the protocols that the endpoint could not be reached, or did not serve a
// dial.
func (e *endpoint) failed() {
	for _, p := range e.protocols {
		p.Failed()
	}
}

// close ends what the protocols keep for later dials.
func (e *endpoint) close() {
	for _, p := range e.protocols {
		p.Close()
	}
}

// misfit says what a server is that has not answered in HTTP/1.1, for err, which
// mode http-connect needs, where it speaks HTTP/2. alpn is what was chosen before.
// misfit returns nil where the server does not, or may have had another cause.
func (e *endpoint) misfit(ctx context.Context, alpn string, err *tunnel.Error) *tunnel.Error {
	settings := errors.Is(err, connectmode.ErrSettings)
	if e.Server.Mode != tunnel.ModeHTTPConnect || alpn != "" || !settings && !errors.Is(err, connectmode.ErrNoAnswer) {
		return nil
	}
	files := e.server.dialer.certs.Version()
	conn, alpn, err := e.Endpoint.Connect(ctx, []string{serverconn.ALPNHTTP2}, e.server.dialer.several())
	if err != nil {
		return nil
	}
	if !settings && alpn != serverconn.ALPNHTTP2 {
		_ = conn.Close()
		return nil
	}
	err = e.protocols[tunnel.ModeGRPC].Probe(ctx, conn, files)
	switch {
	case err == nil:
		return e.WrongServer(fmt.Errorf("it is a gRPC server, which %s=%s does not fit: use %s", e.Names().Mode, tunnel.ModeHTTPConnect, e.OtherMode(tunnel.ModeGRPC)))
	case err.Fault.Lasting():
		return err
	default:
		return nil
	}
}
