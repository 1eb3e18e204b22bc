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
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/webhook"
)

// Path is where AdmissionReviews are answered.
const Path = "/mutate"

// Config is what a webhook serves with.
type Config struct {
	// Cluster is the API server, and who we are there.
	Cluster *rest.Config
	// ConfigFile is the operator's InjectionConfig; it is read again when it changes.
	ConfigFile string
	Images     webhook.Images
	Version    string
	// ListenAddress is for kube-apiserver, HealthAddress for /livez, /readyz and
	// /metrics. MetricsAddress is another one for the same; empty for none.
	ListenAddress, HealthAddress, MetricsAddress string
	// CertDir has tls.crt and tls.key.
	CertDir string
	// Managed says that we issue them ourselves, nil where somebody else does.
	Managed *Managed
	// ShutdownDelay is how long requests are still accepted after the end has
	// begun, until all of the cluster has noticed that we are not ready.
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
	// connections is how many kube-apiservers may have open at once, together.
	connections int
	// unnoticed waits until all of the cluster has noticed that we are not ready.
	unnoticed func(context.Context)
}

// runningSources are sources that have to run to know something.
type runningSources interface {
	Sources
	run(ctx context.Context) error
	ready() error
}

// Run serves until ctx ends and what has begun by then is answered. Bad input is an
// [*flagset.UsageError].
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

// Check refuses what no cluster is needed for to refuse: the addresses and the operator's
// file. Run does too.
func Check(cfg Config) error {
	_, err := prepare(cfg, prometheus.NewRegistry())
	return err
}

// prepare returns the parts that are not about a cluster.
func prepare(cfg Config, registry prometheus.Registerer) (*server, error) {
	s := &server{Config: cfg, metrics: NewMetrics(registry), connections: maxConnections}
	s.unnoticed = s.delayShutdown
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

// splitAddress refuses what cannot be listened on. Port 0 would be any, which nobody
// could find.
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

// isPort reports whether text is a port's number.
func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// listenAdmin binds the addresses for machines.
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
			return nil, fmt.Errorf("%w: end the process that has the address, or choose another %s", err, flag)
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

// delayShutdown waits until the delay is over, or ctx ends.
func (s *server) delayShutdown(ctx context.Context) { pause.For(ctx, s.ShutdownDelay) }

// run is the life of a webhook: what it needs outlives its last answer.
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
		case <-serving.Done(): // it failed: nobody is there to wait for
			return nil
		case <-ctx.Done():
		}
		s.draining.Store(true)
		s.Logger.Info("ending", "requests_accepted_for", s.ShutdownDelay.String())
		s.unnoticed(serving)
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

// announce tells what this webhook is.
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
