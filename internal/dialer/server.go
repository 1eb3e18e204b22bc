// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/x509"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// server is one configured proxy-server: a name, and its endpoints.
type server struct {
	tunnel.Server
	shared  *shared
	mode    atomic.Value // tunnel.Mode: as configured, or as found out
	proved  atomic.Value // tunnel.Mode: as an answer to CONNECT has shown; empty if none has
	advised atomic.Bool  // a person was told that another mode fits better
	lookups *attempts
	changed chan struct{} // tells the watch that the endpoints have changed

	endpoints atomic.Pointer[[]*endpoint] // in use now

	mu          sync.Mutex // guards the fields below, and is held to change endpoints
	lookupError string     // of the last lookup; empty if it succeeded
	up          bool
	logged      []tunnel.Reason // the reasons that were logged since the server was last up
	cause       *tunnel.Error   // the last error with which it was not up; nil before the first
}

func newServer(cfg tunnel.Server, with *shared) *server {
	s := &server{Server: cfg, shared: with, changed: make(chan struct{}, 1)}
	s.lookups = &attempts{background: &with.background, run: s.lookup, pause: lookupRetry}
	s.mode.Store(cfg.Mode)
	with.metrics.addServer(cfg.Name)
	if cfg.Network == tunnel.NetworkUnix {
		s.endpoints.Store(&[]*endpoint{newUnixEndpoint(s)})
	}
	return s
}

// known returns the endpoints that dials may use, possibly none. The caller must not
// change the slice.
func (s *server) known() []*endpoint {
	if known := s.endpoints.Load(); known != nil {
		return *known
	}
	return nil
}

// protos returns the ALPN protocols to offer.
func (s *server) protos() []string { return Protocols(s.Mode) }

// speaks returns the mode to use. It is auto until the mode was found out.
func (s *server) speaks() tunnel.Mode { return s.mode.Load().(tunnel.Mode) }

// modeBy returns the mode of a connection for which ALPN chose alpn. In mode auto it is
// empty if a server of more than one mode may have chosen so.
func (s *server) modeBy(alpn string) tunnel.Mode {
	switch {
	case s.Mode != tunnel.ModeAuto:
		return s.Mode
	case alpn == serverconn.ALPNHTTP2:
		return tunnel.ModeGRPC
	default:
		return ""
	}
}

// modeOf returns the mode of a server that has given an answer to the greeting of
// HTTP/1.1. In mode auto an answer to CONNECT tells more, if there was one.
func (s *server) modeOf(a http1.Answer) tunnel.Mode {
	proved, _ := s.proved.Load().(tunnel.Mode)
	switch {
	case s.Mode != tunnel.ModeAuto:
		return s.Mode
	case proved != "":
		return proved
	case a.Standard():
		return tunnel.ModeHTTPSProxy
	default:
		return tunnel.ModeHTTPConnect
	}
}

// prove records the mode that an answer to CONNECT has shown, if fit says so. From then on
// answers to the greeting do not count: a device in front may give them while the server is
// away. Nor does a refusal, after a success of a proxy-server.
func (s *server) prove(fit serverconn.Fit) {
	proved, _ := s.proved.Load().(tunnel.Mode)
	mode := tunnel.ModeHTTPConnect
	switch {
	case s.Mode != tunnel.ModeAuto:
		return
	case fit == serverconn.Konnectivity:
	case fit == serverconn.StandardProxy, fit == serverconn.StandardRefusal && proved == "":
		mode = tunnel.ModeHTTPSProxy
	default:
		return
	}
	if proved != mode {
		s.proved.Store(mode)
	}
	s.learn(mode, "")
}

// forget is called when the server cannot be reached, so that another may take its place. A
// standard proxy stays one until the success of a proxy-server: devices in front of it make
// it look unreachable too. A proxy-server that has become a standard proxy shows that also
// by a refusal.
func (s *server) forget() { s.proved.CompareAndSwap(tunnel.ModeHTTPConnect, tunnel.Mode("")) }

// learn records the mode that a connection to a server in mode auto has shown. alpn is
// what ALPN chose on it. A server may come back in another mode.
func (s *server) learn(mode tunnel.Mode, alpn string) {
	if s.Mode != tunnel.ModeAuto {
		return
	}
	if s.speaks() == mode {
		return // as nearly always
	}
	if old := s.mode.Swap(mode); old != mode {
		s.shared.log.Info("proxy-server's mode found out", "server", s.Name, "mode", mode, "alpn", alpn)
	}
}

// watch looks up the server's name and watches its endpoints, until ctx ends.
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
		s.report(nil) // an endpoint that was up may be gone
		s.awaitChange(ctx, len(known) == 0)
	}
	return nil
}

// awaitChange looks the name up at intervals. It returns when the endpoints have
// changed or ctx ends.
func (s *server) awaitChange(ctx context.Context, none bool) {
	for {
		var timer <-chan time.Time
		if s.Network != tunnel.NetworkUnix {
			pause := lookupInterval
			if none {
				s.lookups.begin()
				pause = lookupRetry
			}
			timer = time.After(jittered(pause, s.shared.random()))
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

// isUp reports whether the last check of any endpoint succeeded.
func (s *server) isUp() bool {
	for _, e := range s.known() {
		if e.up.Load() {
			return true
		}
	}
	return false
}

// report brings metric and log up to date with the endpoints. err is the error of an
// endpoint that is not up, or nil.
func (s *server) report(err *tunnel.Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	up := s.isUp()
	value := 0.0
	if up {
		value = 1
	}
	s.shared.metrics.serverUp.WithLabelValues(s.Name).Set(value)
	if err != nil {
		s.cause = err
	}
	switch {
	case up && !s.up:
		s.shared.log.Info("proxy-server reachable", "server", s.Name, "mode", s.speaks())
		s.logged = nil
	case !up && err != nil && !slices.Contains(s.logged, err.Reason):
		s.shared.log.Warn("proxy-server not reachable", "server", s.Name, "reason", err.Reason, "error", err)
		s.logged = append(s.logged, err.Reason)
	}
	s.up = up
}

// reportCertificate brings the metric up to date with the certificates that the endpoints
// have shown: of several, it has the one that expires first.
func (s *server) reportCertificate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first *x509.Certificate
	for _, e := range s.known() {
		if c := e.shown.Load(); c != nil && (first == nil || c.NotAfter.Before(first.NotAfter)) {
			first = c
		}
	}
	if first != nil {
		s.shared.metrics.serverShowed(s.Name, first)
	}
}

// whyDown returns one clause that says why the server is not up, for people.
func (s *server) whyDown() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		return s.Name
	}
	return s.Name + ": " + clip.Text(clip.Printable(s.cause.Err.Error()), clip.Clause) // parts of it come from a peer
}

// connectTo connects to e and does the handshake. It offers the protocols in alpn.
func connectTo(ctx context.Context, e *endpoint, alpn []string) (net.Conn, string, *tunnel.Error) {
	return e.Endpoint.Connect(ctx, alpn, e.shared.several())
}
