// SPDX-License-Identifier: Apache-2.0

package statusserver

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/httpserver"
	"github.com/shoot-proxy/proxy-client/internal/statuspage"
)

const (
	// headerTimeout and readTimeout limit the arrival of a request.
	headerTimeout = 2 * time.Second
	readTimeout   = 5 * time.Second
	// writeTimeout limits an answer. Ten thousand connections take a second of a busy
	// processor, and port-forward is slow. A profile extends it by its own duration.
	writeTimeout = 30 * time.Second
	// idleTimeout keeps the connection of a page that asks every second.
	idleTimeout    = 35 * time.Second
	maxHeaderBytes = 16 << 10
	// DefaultConnections is the default of Config.Connections. It is for a few pages, each
	// with the six connections of a browser.
	DefaultConnections = 32
)

// Config configures a Server. A field is required unless its comment says otherwise.
type Config struct {
	Documents Documents
	// Drain begins the drain. from says where the request came from. It must not block.
	Drain  func(from string)
	Logger *slog.Logger
	// Connections is how many may be open at once; 0 means DefaultConnections. A further
	// connection closes the one that has been idle longest.
	Connections int
}

// Server is a server that listens. Run makes it serve.
type Server = httpserver.Server

// Listen binds address (host:port, TCP). The caller must then call Run or Close.
func Listen(address string, cfg Config) (*Server, error) {
	handler, err := newHandler(cfg, rand.Text())
	if err != nil {
		return nil, fmt.Errorf("status page: %w", err)
	}
	return httpserver.Listen("status page", address, &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Mistakes of clients interest only developers.
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}, cmp.Or(cfg.Connections, DefaultConnections))
}

// newHandler returns the handler of all paths. A drain needs token.
func newHandler(cfg Config, token string) (http.Handler, error) {
	index, err := statuspage.Index(token)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", index)
	mux.Handle("GET /assets/", statuspage.Assets())
	cfg.Documents.register(mux)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.Handle("POST /drain", drain(token, cfg.Drain))
	return guard(mux), nil
}
