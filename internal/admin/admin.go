// SPDX-License-Identifier: Apache-2.0

// Package admin is the sidecar's HTTP side for machines: is it alive, is it
// ready, what has it counted.
//
//	registry := admin.NewRegistry()
//	srv, err := admin.Listen(":14021", admin.Config{
//		Live:    []admin.Check{proxy.Live},
//		Ready:   []admin.Check{proxy.Ready, serverReachable},
//		Metrics: registry,
//		Logger:  logger,
//	})
//	…
//	err = srv.Run(ctx)
//
// It serves GET /livez, /readyz, /metrics and, at /, a list of those three. The
// whole pod network can read them, so nothing here ever names a destination,
// and there is no pprof and nothing that writes. What is alive or ready is for
// the checks to say; this package only asks them.
//
// Nor can the pod network take more than a bounded share of the process:
// Config.Connections at once, each with little time for a request and its answer.
package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/connlimit"
)

const (
	// headerTimeout and readTimeout bound the arrival of a request. Probes and
	// scrapers send theirs at once, in one packet.
	headerTimeout = 2 * time.Second
	readTimeout   = 5 * time.Second
	// writeTimeout bounds an answer: Prometheus gives a scrape 10 s.
	writeTimeout = 10 * time.Second
	// idleTimeout keeps the connection of a scraper that comes every 30 s.
	idleTimeout = 35 * time.Second
	// shutdownTimeout bounds the wait for a scrape that is being answered when
	// the sidecar ends.
	shutdownTimeout = time.Second
	maxHeaderBytes  = 16 << 10
	// maxScrapes bounds what a scraper gone wild can make the sidecar do.
	maxScrapes = 4
	// DefaultConnections is how many connections are open at once, at most.
	DefaultConnections = 64
)

// Check returns nil where all is well, otherwise an error whose text is one
// short clause without a destination's name: it is shown to whoever asks. It is
// called at each request, from several goroutines, and must not block.
type Check func() error

// Config is what a Server serves. Metrics and Logger are required.
type Config struct {
	Live    []Check // all must hold for /livez to say ok
	Ready   []Check // all must hold for /readyz to say ok
	Metrics prometheus.Gatherer
	Logger  *slog.Logger
	// Connections is how many may be open at once; 0 means DefaultConnections. One
	// more closes the one that has been idle longest.
	Connections int
}

// NewRegistry returns a registry that already has the Go runtime's and the
// process's own metrics. Nothing uses the global default registry.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// Server is a listening, not yet serving admin server.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen binds address (host:port, TCP), so that an address in use is known
// before anything else starts. Either Run or Close must follow.
func Listen(address string, cfg Config) (*Server, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	server := &http.Server{
		Handler:           handler(cfg),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// What clients do wrong is of interest to developers only.
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}
	return &Server{
		listener: connlimit.Bound(server, listener, cmp.Or(cfg.Connections, DefaultConnections)),
		http:     server,
	}, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Close frees the address of a server that was never run.
func (s *Server) Close() error { return s.listener.Close() }

// Run serves until ctx ends, which is not an error, or until serving fails.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("admin: serve on %s: %w", s.Addr(), err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(shutdown)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close() // a scraper that does not read its answer
	}
	<-served
	if err != nil {
		return fmt.Errorf("admin: shut down: %w", err)
	}
	return nil
}

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", answer("not alive", cfg.Live))
	mux.HandleFunc("GET /readyz", answer("not ready", cfg.Ready))
	mux.Handle("GET /metrics", promhttp.HandlerFor(cfg.Metrics, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelError),
		MaxRequestsInFlight: maxScrapes,
	}))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		fmt.Fprint(w, "/livez\n/readyz\n/metrics\n")
	})
	return mux
}

// answer says in one line that all checks hold, or what is missing.
func answer(prefix string, checks []Check) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		var missing []string
		for _, check := range checks {
			if err := check(); err != nil {
				missing = append(missing, clip.Text(err.Error(), clip.Value))
			}
		}
		if len(missing) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintf(w, "%s: %s\n", prefix, strings.Join(missing, "; "))
			return
		}
		fmt.Fprintln(w, "ok")
	}
}
