// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/httpsproxy"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// greeted is a protocol that judges a server by its answer to the greeting of HTTP/1.1,
// which the dialer sends itself to find out the mode.
type greeted interface {
	// Greeted returns nil if the server that has given this answer speaks the protocol.
	Greeted(ctx context.Context, a http1.Answer) *tunnel.Error
}

// connectAndGreet connects, finds out the mode of the server if it is not known, and
// greets the server in that mode.
func (e *endpoint) connectAndGreet(ctx context.Context) *tunnel.Error {
	files := e.shared.certs.Version()
	conn, alpn, err := e.Connect(ctx)
	if err != nil {
		e.refusedCertificate(err)
		return err
	}
	if secured, ok := conn.(*tls.Conn); ok {
		e.showed(secured.ConnectionState())
		e.shown.Store(firstToExpire(secured.ConnectionState().VerifiedChains))
		e.server.reportCertificate()
	}
	mode := e.server.modeBy(alpn)
	if mode == tunnel.ModeH2Connect {
		return e.protocols[mode].Greet(ctx, conn, files)
	}
	if mode != tunnel.ModeGRPC {
		err = e.greetHTTP1(ctx, conn, alpn)
		if mode != "" || err == nil || !errors.Is(err, http1.ErrSettings) {
			return err
		}
		// The server speaks HTTP/2, and a device in between has removed ALPN.
		if conn, _, err = e.Connect(ctx); err != nil {
			return err
		}
	}
	err = e.protocols[tunnel.ModeGRPC].Greet(ctx, conn, files)
	if err != nil && e.Server.Mode == tunnel.ModeAuto && errors.Is(err, grpcmode.ErrOtherServer) {
		return e.greetWithoutGRPC(ctx, err)
	}
	e.server.learn(tunnel.ModeGRPC, alpn)
	return err
}

// greetHTTP1 greets the server on conn by HTTP/1.1, and judges it in the mode that its
// answer shows. It ends conn.
func (e *endpoint) greetHTTP1(ctx context.Context, conn net.Conn, alpn string) *tunnel.Error {
	a, err := http1.Greet(ctx, e.Endpoint, conn)
	e.shared.spares.Part(conn)
	if err == nil {
		mode := e.server.modeOf(a)
		e.server.learn(mode, alpn)
		e.server.advise(mode, a)
		err = e.protocols[mode].(greeted).Greeted(ctx, a)
		if proxy, ok := e.protocols[mode].(*httpsproxy.Dialer); ok && err == nil {
			e.server.prove(proxy.Shown())
		}
	}
	if err == nil {
		return nil
	}
	if is := e.explainNoHTTP1(ctx, alpn, err); is != nil {
		return is
	}
	return err
}

// greetWithoutGRPC greets a server that has chosen HTTP/2 by ALPN and is no proxy-server,
// as noGRPC says. A standard proxy may speak HTTP/1.1 as well. Whether a server is one that
// speaks HTTP/2 only a person can say: web servers refuse CONNECT with the same statuses.
func (e *endpoint) greetWithoutGRPC(ctx context.Context, noGRPC *tunnel.Error) *tunnel.Error {
	is := *noGRPC
	is.Err = fmt.Errorf("%w; if it is a CONNECT proxy, set %s", noGRPC.Err, e.Names().ModeIs(tunnel.ModeH2Connect))
	conn, alpn, err := http1Only{e}.Connect(ctx)
	if err != nil {
		return &is
	}
	a, err := http1.Greet(ctx, e.Endpoint, conn)
	e.shared.spares.Part(conn)
	proxy := e.protocols[tunnel.ModeHTTPSProxy].(*httpsproxy.Dialer)
	if err == nil {
		err = proxy.Greeted(ctx, a)
	}
	if err != nil || !proxy.Proven() {
		is.Err = fmt.Errorf("%w, or %s where it speaks HTTP/1.1", is.Err, tunnel.ModeHTTPSProxy)
		return &is
	}
	e.server.learn(tunnel.ModeHTTPSProxy, alpn)
	return nil
}

// advise tells a person once if the configured mode fits less than another. The server is
// used as it is configured.
func (s *server) advise(mode tunnel.Mode, a http1.Answer) {
	if s.Mode != tunnel.ModeHTTPConnect || !a.Standard() || s.advised.Swap(true) {
		return
	}
	s.shared.log.Warn("this server seems to be a standard proxy, and is used as a proxy-server of konnectivity: slow apps are reset for nothing",
		"server", s.Name, "software", a.Server(), "mode", mode, "next", "set "+s.shared.names.OtherMode(s.Server, tunnel.ModeHTTPSProxy))
}
