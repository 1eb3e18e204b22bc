// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/connectivity"

	"github.com/shoot-proxy/proxy-client/internal/options"
)

// ALPN protocol names (RFC 7301; IANA registry).
const (
	alpnHTTP2 = "h2"
	alpnHTTP1 = "http/1.1"
)

const (
	// watchInterval and watchRetry are the pauses between looks at a server in
	// http-connect mode, where it is up and where it is not. In gRPC mode the
	// shared connection itself tells.
	watchInterval = 10 * time.Second
	watchRetry    = 2 * time.Second
	watchTimeout  = 5 * time.Second
)

// server is one configured proxy-server.
type server struct {
	options.Server
	dialer *Dialer
	path   *path
	grpc   *grpcServer

	mode   atomic.Value // options.Mode: as configured, or as ALPN decided
	up     atomic.Bool
	active atomic.Int64 // connections and dials that it carries

	mu     sync.Mutex
	parked net.Conn // from connect, for the next transport in gRPC mode
	told   bool     // whether up was logged at least once
}

func newServer(cfg options.Server, p *path, d *Dialer) (*server, error) {
	s := &server{Server: cfg, dialer: d, path: p}
	s.mode.Store(cfg.Mode)
	d.metrics.serverUp.WithLabelValues(cfg.Name).Set(0)
	var err error
	s.grpc, err = newGRPCServer(s)
	return s, err
}

// order returns the servers in the order in which a dial tries them: those that
// can be reached first, and among them the least loaded.
func order(servers []*server) []*server {
	if len(servers) == 1 {
		return servers
	}
	type rank struct {
		down   bool
		active int64
	}
	ranks := make(map[*server]rank, len(servers))
	for _, s := range servers {
		ranks[s] = rank{!s.up.Load(), s.active.Load()}
	}
	sorted := slices.Clone(servers)
	slices.SortStableFunc(sorted, func(a, b *server) int {
		ra, rb := ranks[a], ranks[b]
		if ra.down != rb.down {
			if ra.down {
				return 1
			}
			return -1
		}
		return cmp.Compare(ra.active, rb.active)
	})
	return sorted
}

// dial connects to dst in the server's mode, which its answer to the handshake
// may be the first to tell.
func (s *server) dial(ctx context.Context, dst netip.AddrPort) (Conn, *Error) {
	if s.mode.Load() != options.ModeGRPC {
		conn, err := s.connect(ctx)
		if err != nil {
			return nil, err
		}
		if conn != nil {
			return s.dialConnect(ctx, conn, dst)
		}
	}
	return s.grpc.dial(ctx, dst)
}

// connect opens a connection for one CONNECT. Where the server turns out to
// speak gRPC there is none: it becomes the one that all streams share.
func (s *server) connect(ctx context.Context) (net.Conn, *Error) {
	conn, alpn, err := s.path.connect(ctx, s.protos()...)
	if err != nil {
		return nil, err
	}
	if s.learn(alpn) == options.ModeGRPC {
		s.park(conn)
		return nil, nil
	}
	return conn, nil
}

// protos are the ALPN protocols to offer.
func (s *server) protos() []string {
	switch s.Mode {
	case options.ModeGRPC:
		return []string{alpnHTTP2}
	case options.ModeHTTPConnect:
		return []string{alpnHTTP1}
	default:
		return []string{alpnHTTP2, alpnHTTP1}
	}
}

// learn sets the mode of a server in mode auto by what ALPN chose, and returns
// the mode in force. A server may come back with another frontend.
func (s *server) learn(alpn string) options.Mode {
	if s.Mode != options.ModeAuto {
		return s.mode.Load().(options.Mode)
	}
	mode := options.ModeHTTPConnect
	if alpn == alpnHTTP2 {
		mode = options.ModeGRPC
	}
	if old := s.mode.Swap(mode); old != mode {
		s.dialer.log.Info("proxy-server's mode found out", "server", s.Name, "mode", mode, "alpn", alpn)
	}
	return mode
}

// park keeps conn for the next transport of the shared gRPC connection.
func (s *server) park(conn net.Conn) {
	s.mu.Lock()
	old := s.parked
	s.parked = conn
	s.mu.Unlock()
	if old != nil {
		_ = old.Close()
	}
}

func (s *server) unpark() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.parked
	s.parked = nil
	return conn
}

// watch keeps up current until ctx ends.
func (s *server) watch(ctx context.Context) error {
	defer s.setUp(false, nil)
	for ctx.Err() == nil {
		if s.mode.Load() == options.ModeGRPC {
			s.watchGRPC(ctx)
			continue
		}
		err := s.look(ctx)
		if ctx.Err() != nil {
			break
		}
		pause := watchInterval
		if err != nil {
			s.setUp(false, err)
			pause = watchRetry
		} else {
			s.setUp(true, nil)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// look opens and closes one connection.
func (s *server) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if conn == nil {
		return nil
	}
	return conn.Close()
}

// watchGRPC follows the state of the shared connection, and keeps it connected,
// until ctx ends or the server turns out not to speak gRPC any more.
func (s *server) watchGRPC(ctx context.Context) {
	for ctx.Err() == nil && s.mode.Load() == options.ModeGRPC {
		s.watchTransport(ctx, s.grpc.shared())
	}
}

// watchTransport follows one shared connection, until it is replaced too.
func (s *server) watchTransport(ctx context.Context, t *transport) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(t.inUse, cancel)()
	for ctx.Err() == nil && s.mode.Load() == options.ModeGRPC {
		state := t.conn.GetState()
		switch state {
		case connectivity.Ready:
			s.setUp(true, nil)
		case connectivity.Idle:
			t.conn.Connect()
		case connectivity.TransientFailure:
			s.setUp(false, s.grpc.lastError())
		}
		t.conn.WaitForStateChange(ctx, state)
	}
}

// setUp records whether the server can be reached, and logs each change.
func (s *server) setUp(up bool, err error) {
	old := s.up.Swap(up)
	value := 0.0
	if up {
		value = 1
	}
	s.dialer.metrics.serverUp.WithLabelValues(s.Name).Set(value)
	s.mu.Lock()
	first := !s.told
	s.told = s.told || up || err != nil
	s.mu.Unlock()
	switch {
	case up && (first || !old):
		s.dialer.log.Info("proxy-server reachable", "server", s.Name, "mode", s.mode.Load())
	case !up && err != nil && (first || old):
		s.dialer.log.Warn("proxy-server not reachable", "server", s.Name, "reason", ReasonOf(err), "error", err)
	}
}

func (s *server) close() error {
	if conn := s.unpark(); conn != nil {
		_ = conn.Close()
	}
	if err := s.grpc.close(); err != nil {
		return fmt.Errorf("closing the connection to %s: %w", s.Name, err)
	}
	return nil
}
