// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// ReachTimeout bounds one attempt to reach an endpoint.
const ReachTimeout = 5 * time.Second

// AddressTimeout bounds the connection to one endpoint where there are several, so
// that one dead address leaves time for the next.
const AddressTimeout = 2 * time.Second

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

// Connect opens a connection, with a finished TLS handshake if the server is on TCP. It
// offers protos by ALPN, besides those that were configured, and returns the one that
// was chosen, empty if none was. hasty bounds the connection, without the handshake,
// by AddressTimeout.
func (e *Endpoint) Connect(ctx context.Context, protos []string, hasty bool) (net.Conn, string, *tunnel.Error) {
	if e.Server.Network == tunnel.NetworkUnix {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", e.Server.Address)
		if err != nil {
			return nil, "", e.Unreachable(ctx, err)
		}
		return conn, "", nil
	}
	raw, err := e.ConnectTCP(ctx, hasty)
	if err != nil {
		return nil, "", e.Unreachable(ctx, err)
	}
	cfg, err := e.connector.files.Config()
	if err != nil {
		_ = raw.Close()
		if short := e.connector.Shortage(e.Server, err); short != nil {
			return nil, "", short
		}
		return nil, "", e.Refused(err)
	}
	cfg.ClientSessionCache = sessionsOf{cfg.ClientSessionCache, e.Address()}
	cfg.NextProtos = append(protos, cfg.NextProtos...)
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(e.Server.Address)
	}
	conn := tls.Client(closeNotifyConn{newSocket(raw, true, &e.connector.chunks)}, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, "", e.handshakeError(ctx, cfg.ServerName, err)
	}
	return conn, conn.ConnectionState().NegotiatedProtocol, nil
}

// ConnectTCP is Connect without the handshake.
func (e *Endpoint) ConnectTCP(ctx context.Context, hasty bool) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: keepalive(e.connector.keepalive)}
	if hasty {
		dialer.Timeout = AddressTimeout
	}
	conn, err := dialer.DialContext(ctx, "tcp", e.Addr.String())
	if err != nil {
		return nil, sourceless(e.Addr, err)
	}
	return newWatchedConn(conn.(*net.TCPConn), &e.connector.acks), nil
}

// ErrNoCloseNotify is what a TCP connection under TLS ends with where TLS did not
// end first.
var ErrNoCloseNotify = errors.New("connection ended without TLS close_notify")

// closeNotifyConn keeps a TCP FIN apart from the end of a TLS stream. crypto/tls
// reports both as io.EOF, but only close_notify is the server's word that the
// stream is complete; a bare FIN is what a killed server leaves behind.
type closeNotifyConn struct{ net.Conn }

// Read is Conn.Read, with another error for io.EOF.
func (c closeNotifyConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		err = ErrNoCloseNotify
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
