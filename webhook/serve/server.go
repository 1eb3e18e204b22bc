// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/shoot-proxy/proxy-client/internal/admin"
	"github.com/shoot-proxy/proxy-client/internal/commandline/flagset"
	"github.com/shoot-proxy/proxy-client/internal/httpserver"
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// Path is the URL path of AdmissionReviews.
const Path = "/mutate"

// Config configures a webhook.
type Config struct {
	// Cluster is the API server, with the webhook's identity.
	Cluster *rest.Config
	// ConfigFile is the operator's InjectionConfig. It is read again when it changes.
	ConfigFile string
	Images     webhook.Images
	Version    string
	// ListenAddress is for kube-apiserver. HealthAddress is for /livez, /readyz and
	// /metrics. MetricsAddress is a further address for the same; empty for none.
	ListenAddress, HealthAddress, MetricsAddress string
	// CertDir is the folder of tls.crt and tls.key.
	CertDir string
	// Managed is set if the webhook issues its certificate itself. If it is nil,
	// another program provides it.
	Managed *Managed
	// ShutdownDelay is how long requests are still accepted after the end has begun. In
	// that time the whole cluster learns that the webhook is not ready.
	ShutdownDelay time.Duration
	Logger        *slog.Logger
}

// server is the parts of a webhook.
type server struct {
	Config
	host     string
	port     int
	metrics  *Metrics
	defaults *defaults
	sources  runningSources
	certs    *certificates
	draining atomic.Bool
	// connections is how many connections may be open at once.
	connections int
	// untilNotReadySeen waits until the whole cluster knows that the webhook is not
	// ready.
	untilNotReadySeen func(context.Context)
}

// runningSources are sources that must run before they can answer.
type runningSources interface {
	Sources
	run(ctx context.Context) error
	ready() error
}

// Run serves until ctx ends and all earlier requests are answered. For bad input it
// returns an [*flagset.UsageError].
func Run(ctx context.Context, cfg Config) error {
	registry := prometheus.NewRegistry()
	s, err := newServer(ctx, cfg, registry)
	if err != nil {
		return err
	}
	health, err := s.listenAdmin(prometheus.Gatherers{registry, metrics.Registry})
	if err != nil {
		return err
	}
	return s.run(ctx, health)
}

// Check refuses bad input as Run does, as far as that needs no cluster: the addresses
// and the operator's file.
func Check(cfg Config) error {
	_, err := prepare(cfg, prometheus.NewRegistry())
	return err
}

// prepare makes the parts that need no cluster.
func prepare(cfg Config, registry prometheus.Registerer) (*server, error) {
	s := &server{Config: cfg, metrics: NewMetrics(registry), connections: maxConnections}
	s.metrics.build.WithLabelValues(cfg.Version).Set(1)
	s.untilNotReadySeen = s.delayShutdown
	var err error
	if s.host, s.port, err = splitAddress("--listen-address", cfg.ListenAddress); err != nil {
		return nil, err
	}
	for _, other := range []struct{ flag, address string }{{"--health-address", cfg.HealthAddress}, {"--metrics-address", cfg.MetricsAddress}} {
		if _, port, err := net.SplitHostPort(other.address); other.address != "" && (err != nil || !isPort(port)) {
			return nil, notAnAddress(other.flag, other.address, err)
		}
	}
	s.defaults, err = loadDefaults(cfg.ConfigFile, s.metrics, cfg.Logger)
	return s, err
}

func newServer(ctx context.Context, cfg Config, registry prometheus.Registerer) (*server, error) {
	s, err := prepare(cfg, registry)
	if err != nil {
		return nil, err
	}
	s.certs = newCertificates(cfg.CertDir, s.metrics, cfg.Logger)
	if cfg.Managed == nil {
		if err := s.certs.check(); err != nil {
			return nil, err
		}
	}
	s.sources, err = newInCluster(ctx, cfg.Cluster, cfg.Logger)
	return s, err
}

// splitAddress refuses an address that cannot be listened on. It refuses port 0,
// because no client could find the port.
func splitAddress(flag, value string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(value)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, notAnAddress(flag, value, err)
	}
	return host, port, nil
}

func notAnAddress(flag, value string, err error) error {
	return &flagset.UsageError{Flag: flag, Value: value, Problem: "is not an address to listen on: write host:port, or :port for every address", Err: err}
}

// isPort reports whether text is a port number.
func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// listenAdmin binds the addresses for health and metrics.
func (s *server) listenAdmin(gatherer prometheus.Gatherer) ([]*admin.Server, error) {
	cfg := admin.Config{
		Ready:   []admin.Check{s.notDraining, s.certs.ready, s.sources.ready},
		Metrics: gatherer, Logger: s.Logger,
	}
	var servers []*admin.Server
	for flag, address := range map[string]string{"--health-address": s.HealthAddress, "--metrics-address": s.MetricsAddress} {
		if address == "" || flag == "--metrics-address" && address == s.HealthAddress {
			continue
		}
		one, err := admin.Listen(address, cfg)
		if err != nil {
			for _, other := range servers {
				err = errors.Join(err, other.Close())
			}
			return nil, httpserver.CannotListen(flag, address, err)
		}
		servers = append(servers, one)
	}
	return servers, nil
}

func (s *server) notDraining() error {
	if s.draining.Load() {
		return errors.New("ending")
	}
	return nil
}

// delayShutdown waits for ShutdownDelay, or until ctx ends.
func (s *server) delayShutdown(ctx context.Context) { pause.For(ctx, s.ShutdownDelay) }

// run runs all parts of the webhook. The parts that serving needs stop after the last
// answer.
func (s *server) run(ctx context.Context, health []*admin.Server) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()

	tasks, running := errgroup.WithContext(ctx)
	task := func(name string, run func(context.Context) error, ctx context.Context) {
		tasks.Go(func() error {
			if err := run(ctx); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	task("webhook", func(ctx context.Context) error {
		defer stopRest()
		defer stopServing()
		return s.serve(ctx)
	}, serving)
	task("drain", func(ctx context.Context) error {
		select {
		case <-serving.Done(): // serving failed: there is nothing to drain
			return nil
		case <-ctx.Done():
		}
		s.draining.Store(true)
		s.Logger.Info("ending", "requests_accepted_for", s.ShutdownDelay.String())
		s.untilNotReadySeen(serving)
		stopServing()
		return nil
	}, running)
	task("API server", s.sources.run, rest)
	task("configuration", s.defaults.watch, rest)
	task("certificate", s.certs.watch, rest)
	for _, h := range health {
		task("health server", h.Run, rest)
	}
	if s.Managed != nil {
		task("rotation", func(ctx context.Context) error { return s.Managed.rotate(ctx, s.Cluster, s.CertDir, s.Logger) }, running)
	}
	s.announce(health)
	return tasks.Wait()
}

// announce logs the webhook's version and settings.
func (s *server) announce(health []*admin.Server) {
	addresses := make([]string, 0, len(health))
	for _, h := range health {
		addresses = append(addresses, h.Addr().String())
	}
	images := webhook.ImagesInUse(s.defaults.get(), s.Images, s.Version)
	s.Logger.Info("webhook started", "version", s.Version, "listen", s.ListenAddress, "health", addresses,
		"config", s.ConfigFile, "proxy_client_image", images.ProxyClient, "init_redirect_image", images.InitRedirect,
		"manages_certificates", s.Managed != nil)
}
