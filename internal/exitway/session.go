// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"net"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// An exit is asked at each pingInterval whether it lives, and may be silent for
	// pingTimeout. Together they are the time after which the death of an agent is noticed,
	// if the proxy-server does not notice it. A partition of half of pingTimeout breaks no
	// tunnel: TCP sends again after up to twice its time.
	pingInterval = 1500 * time.Millisecond
	pingTimeout  = 6 * time.Second
)

// session is the HTTP/2 connection of a tunnel.
type session interface {
	Run()
	Ready(ctx context.Context) error
	Err() error
	Quiet() bool
	Limit() int
	Close() error
	DialEarly(ctx context.Context, target string, early tunnel.Early) (tunnel.Carrier, error)
}

// h2session is a session of package h2connect.
type h2session struct{ *h2connect.Conn }

// DialEarly implements session.
func (s h2session) DialEarly(ctx context.Context, target string, early tunnel.Early) (tunnel.Carrier, error) {
	stream, err := s.Conn.DialEarly(ctx, target, early)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// newSession returns the session of an exit on conn, below which is socket.
func newSession(conn net.Conn, socket *http2wire.Socket, held *quota.Quota, draining, room func()) session {
	return h2session{h2connect.New(conn, socket, h2connect.Config{
		UserAgent: "shoot-proxy", Quota: held, PingInterval: pingInterval, PingTimeout: pingTimeout,
		Draining: draining, LimitRaised: room,
	})}
}
