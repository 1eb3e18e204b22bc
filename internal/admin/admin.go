// SPDX-License-Identifier: Apache-2.0

// Package admin serves the sidecar's HTTP endpoints for kubelet and Prometheus:
// liveness, readiness and metrics.
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
// It serves GET /livez, /readyz, /metrics and, at /, a list of those three. The whole
// pod network can read them. So it never names a destination, and it has no pprof and
// nothing that writes. The checks decide what is alive or ready; this package only
// calls them.
//
// The pod network can use only a limited part of the process: Config.Connections at
// once, each with little time for a request and its answer.
package admin

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/httpserver"
)

const (
	// headerTimeout and readTimeout limit the arrival of a request. Probes and scrapers
	// send theirs at once, in one packet.
	headerTimeout = 2 * time.Second
	readTimeout   = 5 * time.Second
	// writeTimeout limits an answer: Prometheus gives a scrape 10 s.
	writeTimeout = 10 * time.Second
	// idleTimeout is long enough to keep the connection of a scraper with an interval
	// of 30 s.
	idleTimeout    = 35 * time.Second
	maxHeaderBytes = 16 << 10
	// maxScrapes limits how many scrapes a faulty scraper can run at once.
	maxScrapes = 4
	// DefaultConnections is the default of Config.Connections.
	DefaultConnections = 64
)

// Check returns nil if its condition holds. Otherwise it returns an error whose text is
// one short clause. Every client can read the text, so it must not name a destination.
// Check is called at each request, from several goroutines, and must not block.
type Check func() error

// Note returns one line about something that does not keep the sidecar from being ready, or
// "". Like a Check it must not name a destination, and must not block.
type Note func() string

// Config configures a Server. Metrics and Logger are required.
type Config struct {
	Live  []Check // all must return nil for /livez to answer ok
	Ready []Check // all must return nil for /readyz to answer ok
	// Notes are for people who read /readyz: each line follows the answer ok. A note that
	// returns "" adds none.
	Notes   []Note
	Metrics prometheus.Gatherer
	Logger  *slog.Logger
	// Connections is how many may be open at once; 0 means DefaultConnections. A
	// further connection closes the one that has been idle longest.
	Connections int
}

// NewRegistry returns a registry with the metrics of the Go runtime and of the process.
// Nothing uses the global default registry.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// Server is an admin server that listens. Run makes it serve.
type Server = httpserver.Server

// Listen binds address (host:port, TCP), so that an address in use is reported before
// anything else starts. The caller must then call Run or Close.
func Listen(address string, cfg Config) (*Server, error) {
	return httpserver.Listen("admin", address, &http.Server{
		Handler:           handler(cfg),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Mistakes of clients interest only developers.
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}, cmp.Or(cfg.Connections, DefaultConnections))
}

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", answer("not alive", cfg.Live, nil))
	mux.HandleFunc("GET /readyz", answer("not ready", cfg.Ready, cfg.Notes))
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

// answer returns a handler that answers ok and the notes if all checks hold, and otherwise
// one line with the errors.
func answer(prefix string, checks []Check, notes []Note) http.HandlerFunc {
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
		for _, note := range notes {
			if line := note(); line != "" {
				fmt.Fprintln(w, clip.Text(line, clip.Sentence))
			}
		}
	}
}
