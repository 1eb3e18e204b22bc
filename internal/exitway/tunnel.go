// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"crypto/x509"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// exitTunnel is one connection to an exit.
type exitTunnel struct {
	target       tunnel.HostPort
	server       string     // configured name of the proxy-server in between
	ids          tunnel.IDs // of the outer connection
	version      int        // of the TLS files
	certificates []*x509.Certificate
	session      session
	opened       time.Time
	drains       chan struct{} // closed when it takes no more streams
	over         chan struct{} // closed when it has ended

	// Guarded by Way.mu:
	streams  int           // streams and dials
	draining bool          // it takes no more streams, by the word of its exit
	replaced bool          // another one is in its place
	none     *tunnel.Error // why its server is no exit, if that has turned out
}

// stands reports whether t takes streams, or would if it were not full. The caller holds
// Way.mu.
func (t *exitTunnel) stands() bool { return !t.draining && t.session.Err() == nil }

// takes reports whether t takes another stream. The caller holds Way.mu.
func (t *exitTunnel) takes() bool { return t.stands() && t.streams < t.session.Limit() }

// dialOn dials dst on t, on which pick has counted the dial. early may be nil. If t is quiet,
// nothing is sent behind the dial, so that it can be repeated elsewhere.
func (w *Way) dialOn(ctx context.Context, t *exitTunnel, dst netip.AddrPort, early tunnel.Early) (tunnel.Conn, *tunnel.Error) {
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if t.session.Quiet() {
		early = nil
	}
	carrier, err := t.session.DialEarly(limited, dst.String(), early)
	if err != nil {
		w.release(t)
		return nil, t.dialError(limited, err)
	}
	w.cfg.Metrics.through.Inc()
	return &stream{Carrier: carrier, tunnel: t, way: w}, nil
}

var (
	_ tunnel.Holder    = (*stream)(nil)
	_ tunnel.Breakable = (*stream)(nil)
)

// stream is a Conn to a target through an exit.
type stream struct {
	tunnel.Carrier
	tunnel   *exitTunnel
	way      *Way
	released atomic.Bool
}

// Server implements tunnel.Conn.
func (s *stream) Server() string { return s.tunnel.server }

// Exit implements tunnel.Exited.
func (s *stream) Exit() string { return s.tunnel.target.String() }

// Held implements tunnel.Holder.
func (s *stream) Held() (bytes int, over bool) { return tunnel.HeldBy(s.Carrier), s.released.Load() }

// Broken implements tunnel.Breakable.
func (s *stream) Broken() bool { return tunnel.IsBroken(s.Carrier) }

// IDs implements tunnel.Identified. They are those of the tunnel, which is what proxy-server
// and agent log.
func (s *stream) IDs() tunnel.IDs { return s.tunnel.ids }

// Close implements tunnel.Conn.
func (s *stream) Close() error {
	defer s.release()
	return s.Carrier.Close()
}

// Abort implements tunnel.Carrier.
func (s *stream) Abort() error {
	defer s.release()
	return s.Carrier.Abort()
}

func (s *stream) release() {
	if !s.released.Swap(true) {
		s.way.release(s.tunnel)
	}
}
