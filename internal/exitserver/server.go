// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/pause"
)

// Server is an exit. Make one with New.
type Server struct {
	Config
	targets targets
	usage   *usage

	handshakes handshakes
	rechecks   atomic.Int64 // calls of Recheck that have begun
	quiet      quiet
	repeats    *repeats       // of streams
	failed     *repeats       // of handshakes
	tasks      sync.WaitGroup // a goroutine for each connection

	abortOnce sync.Once
	aborted   chan struct{} // closed by Abort

	mu       sync.Mutex
	clients  map[*client]struct{} // after the handshake
	ending   bool                 // Run's context has ended
	draining bool
	ready    bool
}

// New returns an exit, which Run makes serve.
func New(cfg Config) *Server {
	cfg.stallInterval = cmp.Or(cfg.stallInterval, defaultStallInterval)
	usage := newUsage(cfg.Limits)
	cfg.Metrics.setLimits(cfg.Limits)
	cfg.Metrics.usage.Store(usage)
	return &Server{
		Config:     cfg,
		targets:    targets{resolver: cfg.Resolver, timeout: cfg.DialTimeout, ownPorts: cfg.OwnPorts},
		usage:      usage,
		handshakes: handshakes{most: maxHandshakes},
		repeats:    newRepeats(cfg.Logger, slog.LevelInfo, "destination"),
		failed:     newRepeats(cfg.Logger, slog.LevelWarn, "certificate"),
		clients:    map[*client]struct{}{},
		aborted:    make(chan struct{}),
	}
}

// acceptRetry is the pause after Accept has failed, for example for lack of files.
const acceptRetry = 100 * time.Millisecond

// Run serves until ctx ends. It then is not ready, and after EndDelay accepts nothing more.
// It tells the clients to make no further streams here (GOAWAY), and waits for the streams,
// for DrainTimeout at most. What is open after that is reset.
func (s *Server) Run(ctx context.Context) error {
	defer s.repeats.end()
	defer s.failed.end()
	s.setReady(true)
	accepts, refuse := context.WithCancel(context.WithoutCancel(ctx))
	defer refuse()
	accepting := make(chan error, 1)
	go func() { accepting <- s.accept(accepts) }()
	var err error
	select {
	case err = <-accepting:
	case <-ctx.Done():
	}
	timeout := time.NewTimer(s.DrainTimeout)
	defer timeout.Stop()
	if ctx.Err() != nil && err == nil {
		s.awaitEndpoints()
		refuse()
		_ = s.Listener.Close()
		err = <-accepting
	}
	s.drain()
	ended := make(chan struct{})
	go func() { s.tasks.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-timeout.C:
		s.Logger.Warn("the drain took too long: the open streams are reset", "timeout", s.DrainTimeout.String())
		s.Abort()
		<-ended
	}
	return err
}

// awaitEndpoints waits until clients are sent to other exits. They all connect again at
// GOAWAY, and would be refused here.
func (s *Server) awaitEndpoints() {
	s.mu.Lock()
	s.ending = true
	s.mu.Unlock()
	if len(s.all()) == 0 {
		return
	}
	delay := time.NewTimer(s.EndDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-s.aborted:
	}
}

// accept accepts connections until the listener is closed.
func (s *Server) accept(ctx context.Context) error {
	reported := false
	for {
		conn, err := s.Listener.Accept()
		switch {
		case ctx.Err() != nil:
			if conn != nil {
				_ = conn.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept connections on %s: %w", s.Listener.Addr(), err)
		case err != nil:
			if !reported {
				s.Logger.Error("no connection can be accepted; trying again", "error", err)
			}
			reported = true
			pause.For(ctx, acceptRetry)
		default:
			reported = false
			s.tasks.Go(func() { s.serve(conn) })
		}
	}
}

// Live returns nil: a server that does not serve has ended Run.
func (s *Server) Live() error { return nil }

// Ready returns an error if clients should go to another exit.
func (s *Server) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ending || s.draining:
		return errors.New("the exit is ending")
	case !s.ready:
		return errors.New("the exit does not accept connections yet")
	}
	return nil
}

func (s *Server) setReady(ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = ready
}

// add keeps a client whose handshake is done. It returns false if the server is draining.
func (s *Server) add(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.clients[c] = struct{}{}
	s.Metrics.connectionsActive.Inc()
	return true
}

func (s *Server) remove(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	s.Metrics.connectionsActive.Dec()
}

// all returns the clients.
func (s *Server) all() []*client {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*client, 0, len(s.clients))
	for c := range s.clients {
		list = append(list, c)
	}
	return list
}

// drain sends GOAWAY to all clients, and ends handshakes.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.handshakes.closeAll()
	for _, c := range s.all() {
		c.goAway()
	}
}

// Abort ends all connections at once. Targets get a reset.
func (s *Server) Abort() {
	s.abortOnce.Do(func() { close(s.aborted) })
	for _, c := range s.all() {
		c.abort()
	}
}

// Recheck looks whether each open stream is still allowed, after a change of the policy or
// the certificates. It resets those that are not.
func (s *Server) Recheck() {
	s.rechecks.Add(1)
	for _, c := range s.all() {
		c.recheck()
	}
}
