// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	crwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/shoot-proxy/proxy-client/internal/connlimit"
	"github.com/shoot-proxy/proxy-client/internal/httpserver"
)

const (
	// maxConnections is how many connections for AdmissionReviews may be open at once.
	// Each kube-apiserver needs one for each request that it admits at the same time.
	// These are up to 200, unless --max-mutating-requests-inflight says otherwise.
	maxConnections = 1024
	// headerTimeout limits the TLS handshake and the arrival of a request's headers.
	headerTimeout = 5 * time.Second
	// writeTimeout limits the wait for a request's body, the decision and the answer.
	// kube-apiserver waits for 5 s.
	writeTimeout = 10 * time.Second
	// idleTimeout is how long kube-apiserver keeps an idle connection.
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 16 << 10
	// shutdownTimeout limits the wait for requests that came before the end.
	shutdownTimeout = time.Minute
)

// serve answers kube-apiserver until ctx ends, and then the requests that came before.
func (s *server) serve(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-s.certs.loaded:
	}
	address := net.JoinHostPort(s.host, strconv.Itoa(s.port))
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return httpserver.CannotListen("--listen-address", address, err)
	}
	server := s.reviewServer()
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(connlimit.Bound(server, listener, s.connections), "", "") }()
	select {
	case err := <-served:
		return fmt.Errorf("serve on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(shutdown); err != nil {
		return fmt.Errorf("shut down: %w", errors.Join(err, server.Close()))
	}
	return nil
}

// reviewServer returns the server that answers AdmissionReviews.
func (s *server) reviewServer() *http.Server {
	mux := http.NewServeMux()
	// Only the metrics of each answer come from controller-runtime's server. That
	// server itself limits neither its connections nor their time.
	crwebhook.NewServer(crwebhook.Options{WebhookMux: mux}).Register(Path, NewHandler(HandlerConfig{
		Sources: s.sources, Defaults: s.defaults.get, Images: s.Images, Version: s.Version,
		Metrics: s.metrics, Logger: s.Logger, Draining: s.draining.Load,
	}))
	return &http.Server{
		Handler: mux,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// kube-apiserver uses only HTTP/1.1 with webhooks (apiserver,
			// pkg/util/webhook/client.go). HTTP/2 would be a further target for
			// attacks.
			NextProtos:     []string{"http/1.1"},
			GetCertificate: s.certs.get,
		},
		// ServeTLS would offer HTTP/2 too.
		Protocols:         http1(),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
}

// http1 returns the set of protocols with only HTTP/1.1.
func http1() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return protocols
}
