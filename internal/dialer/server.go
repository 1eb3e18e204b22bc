// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// server is one configured proxy-server: a name, and the endpoints behind it.
type server struct {
	tunnel.Server
	dialer  *Dialer
	mode    atomic.Value // tunnel.Mode: as configured, or as ALPN decided
	lookups *attempts
	changed chan struct{} // tells the watch that endpoints have changed

	endpoints atomic.Pointer[[]*endpoint] // in use now

	mu        sync.Mutex // guards what follows, and changes to endpoints
	complaint string     // about the last lookup
	up        bool
	logged    []tunnel.Reason // why it was not up, since it last was
	cause     *tunnel.Error   // why it was not up when last told; nil where nothing was told yet
}

func newServer(cfg tunnel.Server, d *Dialer) *server {
	s := &server{Server: cfg, dialer: d, changed: make(chan struct{}, 1)}
	s.lookups = &attempts{background: &d.background, run: s.lookup, pause: lookupRetry}
	s.mode.Store(cfg.Mode)
	d.metrics.serverUp.WithLabelValues(cfg.Name).Set(0)
	if cfg.Network == tunnel.NetworkUnix {
		s.endpoints.Store(&[]*endpoint{newUnixEndpoint(s)})
	}
	return s
}

// known returns the endpoints that dials may use, possibly none. Nobody changes
// what it returns.
func (s *server) known() []*endpoint {
	if known := s.endpoints.Load(); known != nil {
		return *known
	}
	return nil
}

// protos are the ALPN protocols to offer.
func (s *server) protos() []string {
	switch s.Mode {
	case tunnel.ModeGRPC:
		return []string{serverconn.ALPNHTTP2}
	case tunnel.ModeHTTPConnect:
		return []string{serverconn.ALPNHTTP1}
	default:
		return []string{serverconn.ALPNHTTP2, serverconn.ALPNHTTP1}
	}
}

// speaks returns the mode in force: auto where ALPN has not decided yet.
func (s *server) speaks() tunnel.Mode { return s.mode.Load().(tunnel.Mode) }

// modeBy returns the mode of a connection for which ALPN chose alpn. It is empty in
// mode auto where nothing was chosen.
func (s *server) modeBy(alpn string) tunnel.Mode {
	switch {
	case s.Mode != tunnel.ModeAuto:
		return s.Mode
	case alpn == serverconn.ALPNHTTP2:
		return tunnel.ModeGRPC
	case alpn == serverconn.ALPNHTTP1:
		return tunnel.ModeHTTPConnect
	default:
		return ""
	}
}

// learn sets the mode of a server in mode auto, which a connection has shown for
// which ALPN chose alpn. A server may come back with another frontend.
func (s *server) learn(mode tunnel.Mode, alpn string) {
	if s.Mode != tunnel.ModeAuto {
		return
	}
	if old := s.mode.Swap(mode); old != mode {
		s.dialer.log.Info("proxy-server's mode found out", "server", s.Name, "mode", mode, "alpn", alpn)
	}
}

// watch follows the server's name and watches its endpoints, until ctx ends.
func (s *server) watch(ctx context.Context) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	watched := map[*endpoint]bool{}
	for ctx.Err() == nil {
		known := s.known()
		now := make(map[*endpoint]bool, len(known))
		for _, e := range known {
			now[e] = true
			if !watched[e] {
				watches.Go(func() { e.watch(ctx) })
			}
		}
		watched = now
		s.tell(nil) // one that was up may have departed
		s.awaitChange(ctx, len(known) == 0)
	}
	return nil
}

// awaitChange returns when endpoints have changed or ctx ends, and looks the
// name up meanwhile.
func (s *server) awaitChange(ctx context.Context, none bool) {
	for {
		var timer <-chan time.Time
		if s.Network != tunnel.NetworkUnix {
			pause := lookupInterval
			if none {
				s.lookups.begin()
				pause = lookupRetry
			}
			timer = time.After(jittered(pause, s.dialer.random()))
		}
		select {
		case <-ctx.Done():
			return
		case <-s.changed:
			return
		case <-timer:
			s.refresh()
		}
	}
}

// isUp reports whether any endpoint could be reached when last tried.
func (s *server) isUp() bool {
	for _, e := range s.known() {
		if e.up.Load() {
			return true
		}
	}
	return false
}

// tell brings metric and log up to date with the endpoints. err says why one of
// them is not up, or is nil.
func (s *server) tell(err *tunnel.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.isUp()
	value := 0.0
	if up {
		value = 1
	}
	s.dialer.metrics.serverUp.WithLabelValues(s.Name).Set(value)
	if err != nil {
		s.cause = err
	}
	switch {
	case up && !s.up:
		s.dialer.log.Info("proxy-server reachable", "server", s.Name, "mode", s.speaks())
		s.logged = nil
	case !up && err != nil && !slices.Contains(s.logged, err.Reason):
		s.dialer.log.Warn("proxy-server not reachable", "server", s.Name, "reason", err.Reason, "error", err)
		s.logged = append(s.logged, err.Reason)
	}
	s.up = up
}

// notUp is one clause for people that says why the server is not up.
func (s *server) notUp() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		return s.Name
	}
	printable := func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}
	return s.Name + ": " + clip.Text(strings.Map(printable, s.cause.Err.Error()), clip.Clause) // a peer has a say in it
}

// connectTo opens a connection to e, and offers what the mode of its server allows.
func connectTo(ctx context.Context, e *endpoint) (net.Conn, string, *tunnel.Error) {
	return e.Endpoint.Connect(ctx, e.server.protos(), e.server.dialer.several())
}
