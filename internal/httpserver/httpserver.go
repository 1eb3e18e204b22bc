// SPDX-License-Identifier: Apache-2.0

// Package httpserver runs HTTP servers: it binds an address, serves with a
// limited number of connections until a context ends, and shuts down. CannotListen says what
// to do about an address that cannot be listened on.
//
//	s, err := httpserver.Listen("admin", ":14021", &http.Server{Handler: mux, …}, 64)
//	…
//	err = s.Run(ctx)
//
// It knows no path and sets no timeout of a request: these are the caller's.
package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/connlimit"
)

// shutdownTimeout limits the wait for answers that are being written when Run ends.
const shutdownTimeout = time.Second

// Server is a server that listens. Run makes it serve.
type Server struct {
	name     string
	listener net.Listener
	http     *http.Server
}

// Listen binds address (host:port, TCP) for server. Its errors, and those of Run, begin
// with name. At most most connections are open at once. The caller must then call Run or
// Close.
func Listen(name, address string, server *http.Server, most int) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &Server{name, connlimit.Bound(server, listener, most), server}, nil
}

// Addr returns the address on which the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close closes the listener of a server that was never run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends, and then returns nil. If serving fails, it returns an
// error.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("%s: serve on %s: %w", s.name, s.Addr(), err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(shutdown)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // a client does not read its answer
	}
	<-served
	if err != nil {
		return fmt.Errorf("%s: shut down: %w", s.name, err)
	}
	return nil
}
