// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// addressTimeout bounds the connection to one endpoint where there are several, so
// that one dead address leaves time for the next.
const addressTimeout = 2 * time.Second

// lostProbes is how many keepalive probes in a row may be unanswered, one second
// apart, until a server is given up to which nothing is being sent.
const lostProbes = 5

// keepalive asks a server to which nothing is being sent once in idle whether it is
// there, and shows what lies in between that the connection is in use. The server
// allows no HTTP/2 pings for that: it ends connections that send them. ackWatch
// covers what is being sent.
func keepalive(idle time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: idle, Interval: time.Second, Count: lostProbes}
}

// connectTo opens a connection to e, with a finished TLS handshake where it is
// reached over TCP. It returns the protocol that ALPN chose, empty where none
// was.
func connectTo(ctx context.Context, e *endpoint) (net.Conn, string, *tunnel.Error) {
	return connectOffering(ctx, e, e.server.protos())
}

// connectOffering is connectTo with ALPN protocols of the caller's.
func connectOffering(ctx context.Context, e *endpoint, protos []string) (net.Conn, string, *tunnel.Error) {
	if e.server.Network == tunnel.NetworkUnix {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", e.server.Address)
		if err != nil {
			return nil, "", e.server.unreachable(ctx, err)
		}
		return conn, "", nil
	}
	raw, err := e.connectTCP(ctx)
	if err != nil {
		return nil, "", e.server.unreachable(ctx, err)
	}
	cfg, err := e.server.dialer.certs.Config()
	if err != nil {
		_ = raw.Close()
		if short := e.server.shortage(err); short != nil {
			return nil, "", short
		}
		return nil, "", e.refused(err)
	}
	cfg.ClientSessionCache = sessionsOf{cfg.ClientSessionCache, e.address()}
	cfg.NextProtos = append(protos, cfg.NextProtos...)
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(e.server.Address)
	}
	conn := tls.Client(fullStop{newSocket(raw, true, &e.server.dialer.chunks)}, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, "", e.handshakeError(ctx, cfg.ServerName, err)
	}
	return conn, conn.ConnectionState().NegotiatedProtocol, nil
}

func (e *endpoint) connectTCP(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepalive(e.server.dialer.keepalive)}
	if e.server.dialer.several() {
		dialer.Timeout = addressTimeout
	}
	conn, err := dialer.DialContext(ctx, "tcp", e.addr.String())
	if err != nil {
		return nil, sourceless(e.addr, err)
	}
	return newWatchedConn(conn.(*net.TCPConn), &e.server.dialer.acks), nil
}

// handshakeError tells a refused certificate from a broken connection, and adds
// what to do about it.
func (e *endpoint) handshakeError(ctx context.Context, name string, err error) *tunnel.Error {
	alert, alerted := remoteAlert(err)
	begins, plain := notTLS(err)
	switch {
	case ctx.Err() != nil:
		return e.server.unreachable(ctx, fmt.Errorf("TLS handshake: %w", err))
	case errors.As(err, new(x509.HostnameError)):
		return e.refused(fmt.Errorf("its certificate is not for %q: %w; set --server-name to a name in it", name, err))
	case errors.As(err, new(x509.UnknownAuthorityError)):
		return e.refused(fmt.Errorf("its certificate is not signed by --ca-cert: %w", err))
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return e.refused(fmt.Errorf("its certificate was not accepted: %w", err))
	case alerted && strings.Contains(alert, noApplicationProtocol):
		return e.noProtocol(err)
	case alerted:
		return e.alerted(err)
	case plain:
		return e.noTLS(begins)
	default:
		return e.server.unreachable(ctx, fmt.Errorf("TLS handshake: %w", err))
	}
}

// refused is the error of a connection that fails for TLS' sake.
func (e *endpoint) refused(err error) *tunnel.Error {
	if e.addr.Port() == agentsPort { // where another CA is trusted
		err = fmt.Errorf("%w (%d is usually the agents' port: %s)", err, agentsPort, serversPort)
	}
	return &tunnel.Error{Reason: tunnel.ReasonTLS, Server: e.server.Name, Err: err, Fault: tunnel.FaultUnusable}
}

// noApplicationProtocol is how crypto/tls words the alert of a server that
// supports none of the offered ALPN protocols (RFC 7301, section 3.2).
const noApplicationProtocol = "no application protocol"

// noProtocol is the error of a server that speaks none of the protocols that were
// offered, for its alert.
func (e *endpoint) noProtocol(err error) *tunnel.Error {
	switch e.server.Mode {
	case tunnel.ModeGRPC:
		return e.noHTTP2(err)
	case tunnel.ModeHTTPConnect:
		return e.wrongServer(fmt.Errorf("it does not speak HTTP/1.1 (%w): for a gRPC server use %s", err, e.otherMode(tunnel.ModeGRPC)))
	default:
		return e.wrongServer(fmt.Errorf("it speaks neither HTTP/2 nor HTTP/1.1 (%w): is the port right? %s", err, serversPort))
	}
}

// notTLS returns how a server's answer begins that is no TLS.
func notTLS(err error) (begins []byte, ok bool) {
	header, ok := errors.AsType[tls.RecordHeaderError](err)
	return header.RecordHeader[:], ok && !isRecord(header.RecordHeader)
}

// isRecord reports whether a record's header is TLS' (RFC 8446, section 5.1), of a
// version or a length that cannot be.
func isRecord(header [recordHeader]byte) bool {
	const changeCipherSpec, heartbeat, major = 20, 24, 3
	return header[0] >= changeCipherSpec && header[0] <= heartbeat && header[1] == major
}

// noTLS is the error of a server that answers in plain text, for how its answer
// begins.
func (e *endpoint) noTLS(begins []byte) *tunnel.Error {
	is := fmt.Sprintf("it does not speak TLS, its answer begins %q", begins)
	switch {
	case string(begins) == "HTTP/":
		is = "it speaks plain HTTP, without TLS"
	case begins[0] == 0 && begins[3] == h2SettingsType && begins[4] == 0:
		is = "it speaks HTTP/2 without TLS"
	}
	return e.wrongServer(fmt.Errorf("%s: is the port right? %s", is, serversPort))
}

// alerted is the error of a server that answered with a TLS alert. With TLS 1.3
// a client certificate is refused only after the client's handshake.
func (e *endpoint) alerted(err error) *tunnel.Error {
	if !e.server.dialer.certs.HasClient() {
		return e.refused(fmt.Errorf("it refused the TLS connection: %w; no client certificate was given: give --client-cert and --client-key", err))
	}
	return e.refused(fmt.Errorf("it refused the TLS connection: %w; is --client-cert signed by the CA that it trusts?", err))
}

// remoteAlert returns the words of a TLS alert from the peer, which crypto/tls
// exports no type for.
func remoteAlert(err error) (string, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return "", false
	}
	return op.Err.Error(), true
}

// errFullStop is what a TCP connection under TLS ends with where TLS did not
// end first.
var errFullStop = errors.New("connection ended without TLS close_notify")

// fullStop keeps a TCP FIN apart from the end of a TLS stream. crypto/tls
// reports both as io.EOF, but only close_notify is the server's word that the
// stream is complete; a bare FIN is what a killed server leaves behind.
type fullStop struct{ net.Conn }

// Read is Conn.Read, with another error for io.EOF.
func (c fullStop) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = errFullStop
	}
	return n, err
}

// sessionsOf is the part of a session cache that belongs to one endpoint.
// crypto/tls looks for sessions by the server's name, behind which there may be
// several, and none of them resumes what another has begun.
type sessionsOf struct {
	tls.ClientSessionCache
	endpoint string
}

// Get implements tls.ClientSessionCache.
func (s sessionsOf) Get(key string) (*tls.ClientSessionState, bool) {
	return s.ClientSessionCache.Get(s.endpoint + " " + key)
}

// Put implements tls.ClientSessionCache.
func (s sessionsOf) Put(key string, session *tls.ClientSessionState) {
	s.ClientSessionCache.Put(s.endpoint+" "+key, session)
}
