// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// CheckTimeout bounds the connect, handshake and first exchange with an endpoint that no
// dial waits for.
const CheckTimeout = 5 * time.Second

// AddressTimeout bounds the TCP connect to one of several endpoints, so that one dead
// address leaves time for the next.
const AddressTimeout = 2 * time.Second

// maxResumptionsFailed is how many resumed handshakes may fail without an alert. A server that
// restarts ends some, too.
const maxResumptionsFailed = 2

// lostProbes is how many keepalive probes in a row may be unanswered, one second apart.
// Then a connection on which nothing is being sent is ended.
const lostProbes = 5

// keepalive returns the configuration of TCP keepalive for connections on which nothing
// is being sent. It asks the server once in idle whether it is there, and shows the
// devices in between that the connection is in use. HTTP/2 pings cannot do that: the
// server ends connections that send them. ackWatch covers bytes that are being sent.
func keepalive(idle time.Duration) net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: idle, Interval: time.Second, Count: lostProbes}
}

// Connect connects to the endpoint, and does the TLS handshake if the server is on TCP.
// It offers protos by ALPN, besides those that were configured, and returns the protocol
// that was chosen, empty if none was. If the endpoint is one of several, AddressTimeout
// bounds the connect without the handshake.
//
// If the server refuses to resume a session, Connect connects once more, with a full
// handshake. Some servers hand out sessions that they do not resume: squid with clientca=
// and without sslcontext= does. If they say so by an alert, or twice without one,
// none is resumed there again.
func (e *Endpoint) Connect(ctx context.Context, protos []string, several bool) (net.Conn, string, *tunnel.Error) {
	if e.Server.Network == tunnel.NetworkUnix {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", e.Server.Address)
		if err != nil {
			return nil, "", e.Unreachable(ctx, err)
		}
		return conn, "", nil
	}
	conn, name, resuming, err := e.secure(ctx, protos, several)
	if err != nil && resuming && ctx.Err() == nil && !errors.As(err, new(*tls.CertificateVerificationError)) {
		// crypto/tls has dropped the session. So this handshake is a full one.
		refused := err
		conn, name, _, err = e.secure(ctx, protos, several)
		if _, alerted := RemoteAlert(refused); err == nil && (alerted || e.resumptionsFailed.Add(1) >= maxResumptionsFailed) {
			e.noResumption.Store(true)
		}
	}
	if err != nil {
		if refused, ok := errors.AsType[*tunnel.Error](err); ok {
			return nil, "", refused
		}
		return nil, "", e.handshakeError(ctx, name, err)
	}
	return conn, conn.ConnectionState().NegotiatedProtocol, nil
}

// secure connects by TCP and does the handshake for the server's name. resuming reports
// whether it has asked the server to resume a session. The error is a *tunnel.Error if there
// was no handshake, and otherwise that of crypto/tls.
func (e *Endpoint) secure(ctx context.Context, protos []string, several bool) (conn *tls.Conn, name string, resuming bool, err error) {
	raw, err := e.ConnectTCP(ctx, several)
	if err != nil {
		return nil, "", false, e.Unreachable(ctx, err)
	}
	cfg, err := e.connector.files.Config()
	if err != nil {
		_ = raw.Close()
		if short := e.connector.Shortage(e.Server, err); short != nil {
			return nil, "", false, short
		}
		return nil, "", false, e.Refused(err)
	}
	sessions := &sessionsOf{ClientSessionCache: cfg.ClientSessionCache, endpoint: e.Address()}
	cfg.ClientSessionCache = sessions
	if e.noResumption.Load() {
		cfg.ClientSessionCache = nil
	}
	cfg.NextProtos = append(slices.Clone(protos), cfg.NextProtos...)
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(e.Server.Address)
	}
	conn = tls.Client(closeNotifyConn{newSocket(raw, true, &e.connector.chunks)}, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, cfg.ServerName, sessions.used, err
	}
	return conn, cfg.ServerName, sessions.used, nil
}

// ConnectTCP is Connect without the handshake.
func (e *Endpoint) ConnectTCP(ctx context.Context, several bool) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepalive(e.connector.keepalive)}
	if several {
		dialer.Timeout = AddressTimeout
	}
	conn, err := dialer.DialContext(ctx, "tcp", e.Addr.String())
	if err != nil {
		return nil, withoutPortErrno(e.Addr, err)
	}
	return newWatchedConn(conn.(*net.TCPConn), &e.connector.acks), nil
}

// ErrNoCloseNotify is the error of a TLS connection whose TCP connection ended before
// close_notify.
var ErrNoCloseNotify = errors.New("connection ended without TLS close_notify")

// closeNotifyConn tells a TCP FIN from the end of a TLS stream. crypto/tls reports both
// as io.EOF. With close_notify the server says that the stream is complete, while a FIN
// alone may come from the kernel of a server that was killed.
type closeNotifyConn struct{ net.Conn }

// Read is Conn.Read, with another error for io.EOF.
func (c closeNotifyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = ErrNoCloseNotify
	}
	return n, err
}

// sessionsOf is the part of a session cache that belongs to one endpoint. crypto/tls
// stores sessions by the server's name. Several endpoints may have that name, and none
// resumes the session of another.
type sessionsOf struct {
	tls.ClientSessionCache
	endpoint string
	used     bool // a session was taken from it, for the one handshake that it serves
}

// Get implements tls.ClientSessionCache.
func (s *sessionsOf) Get(key string) (*tls.ClientSessionState, bool) {
	session, ok := s.ClientSessionCache.Get(s.endpoint + " " + key)
	s.used = ok && session != nil
	return session, ok
}

// Put implements tls.ClientSessionCache.
func (s *sessionsOf) Put(key string, session *tls.ClientSessionState) {
	s.ClientSessionCache.Put(s.endpoint+" "+key, session)
}
