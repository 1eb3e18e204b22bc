// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/shoot-proxy/proxy-client/internal/h2proxy"
	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/httpsproxy"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/connectmode"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// protocol is a way to speak to the server of one endpoint. The dialer picks the
// endpoint and judges it. A protocol dials through it. It knows no other endpoint, and
// nothing of the standing of its own.
//
// A protocol calls the methods of an owner, which it was given. By these it connects
// and does the handshake, and reports the end of a connection that Dial has returned.
type protocol interface {
	// Greet takes over conn, on which nothing was sent yet. It returns nil if the
	// server on conn speaks this protocol. files is the version of the TLS files that
	// the handshake used. Greet keeps conn if it can serve later dials, and otherwise
	// ends it.
	Greet(ctx context.Context, conn net.Conn, files int) *tunnel.Error
	// Probe is Greet, but it always ends conn.
	Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error
	// Dial dials dst. Fit says if the server does not speak the protocol, as far as is
	// known.
	Dial(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit)
	// Standing returns a channel that is closed when the connection is lost that shows
	// that the server can be reached. It returns nil if there is no such connection.
	Standing() <-chan struct{}
	// Keeps reports whether something is kept that may serve a dial, even if the last
	// check failed.
	Keeps() bool
	// Failed is called when a check failed, or when the endpoint did not serve a dial.
	Failed()
	// Close ends what is kept for later dials. Connections that Dial has returned go
	// on.
	Close()
}

// protocolsOf returns each protocol that e's server may speak. A further protocol is
// one more line.
func protocolsOf(e *endpoint) map[tunnel.Mode]protocol {
	d := e.shared
	return map[tunnel.Mode]protocol{
		tunnel.ModeGRPC:        grpcmode.New(e.Endpoint, e, &d.grpc),
		tunnel.ModeHTTPConnect: connectmode.New(e.Endpoint, e, &d.spares),
		tunnel.ModeHTTPSProxy:  httpsproxy.New(e.Endpoint, http1Only{e}, &d.spares),
		tunnel.ModeH2Connect:   h2proxy.New(e.Endpoint, e, &d.h2),
	}
}

// http1Only is an endpoint to which HTTP/1.1 is spoken, whatever else its server speaks.
type http1Only struct{ *endpoint }

// Connect connects and does the handshake.
func (e http1Only) Connect(ctx context.Context) (net.Conn, string, *tunnel.Error) {
	return e.shared.connect(ctx, e.endpoint, Protocols(tunnel.ModeHTTPSProxy))
}

// standing returns a channel that is closed when the connection is lost that shows that
// the server can be reached. It returns nil if there is no such connection.
func (e *endpoint) standing() <-chan struct{} {
	for _, p := range e.protocols {
		if lost := p.Standing(); lost != nil {
			return lost
		}
	}
	return nil
}

// keepsAny reports whether a protocol keeps something that may serve a dial.
func (e *endpoint) keepsAny() bool {
	for _, p := range e.protocols {
		if p.Keeps() {
			return true
		}
	}
	return false
}

// failed tells the protocols that a check failed, or that the endpoint did not serve a
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

// explainNoHTTP1 returns the error of a server that should speak HTTP/1.1 and has not
// answered in it. err is what happened, and alpn the protocol that the handshake chose.
// It returns nil if the server does not speak HTTP/2, or if there may be another cause.
func (e *endpoint) explainNoHTTP1(ctx context.Context, alpn string, err *tunnel.Error) *tunnel.Error {
	settings := errors.Is(err, http1.ErrSettings)
	if e.Server.Mode == tunnel.ModeAuto || alpn != "" || !settings && !errors.Is(err, http1.ErrNoAnswer) {
		return nil
	}
	files := e.shared.certs.Version()
	conn, alpn, err := e.Endpoint.Connect(ctx, []string{serverconn.ALPNHTTP2}, e.shared.several())
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
		return e.WrongServer(fmt.Errorf("it is a gRPC server, which %s does not fit: use %s", e.ModeSetting(), e.OtherMode(tunnel.ModeGRPC)))
	case err.Fault.Lasting():
		return err
	default:
		return nil
	}
}
