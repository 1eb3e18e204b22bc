// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/shoot-proxy/proxy-client/internal/admin"
	"github.com/shoot-proxy/proxy-client/internal/dialer"
	"github.com/shoot-proxy/proxy-client/internal/exitway"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/proxy"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// way is how the data path comes to targets: through a proxy-server, and then through an exit
// if one is configured.
type way struct {
	proxy.Dialer
	servers *dialer.Dialer
	exits   *exitway.Way // nil if none is configured
	ready   []admin.Check
	notes   []admin.Note
}

// newWay returns the way that cfg says. It connects to nothing yet.
func newWay(cfg *options.ProxyClientConfig, log *slog.Logger, registry prometheus.Registerer, held *quota.Quota) (*way, error) {
	metrics := dialer.NewMetrics(registry)
	servers, err := dialer.New(dialer.Config{
		Servers: cfg.Servers, TLS: cfg.TLS, Names: cfg.Names, CIDRs: cfg.CIDRs, DialTimeout: cfg.DialTimeout, Keepalive: cfg.ServerKeepalive,
		Logger: log, Metrics: metrics, Quota: held,
	})
	if err != nil {
		return nil, err
	}
	w := &way{Dialer: servers, servers: servers, ready: []admin.Check{servers.Unreachable}}
	if !cfg.Exits.Enabled() {
		return w, nil
	}
	w.exits, err = exitway.New(exitway.Config{
		Exits: cfg.Exits, Names: cfg.Names, Outer: servers, DialTimeout: cfg.DialTimeout, Quota: held,
		Logger: log, Metrics: exitway.NewMetrics(registry), Certificate: metrics.Certificate,
	})
	if err != nil {
		return nil, errors.Join(err, servers.Close())
	}
	w.Dialer = w.exits
	w.ready = append(w.ready, w.exits.Unready)
	w.notes = append(w.notes, w.exits.Note)
	return w, nil
}

// Run watches servers and exits until ctx ends. Its error says that a server must not be used.
func (w *way) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.servers.Run(ctx) })
	if w.exits != nil {
		g.Go(func() error { return w.exits.Run(ctx) })
	}
	return g.Wait()
}

// Close ends what Run and the data path have made. Both have ended.
func (w *way) Close() error {
	var err error
	if w.exits != nil {
		err = w.exits.Close()
	}
	return errors.Join(err, w.servers.Close())
}

// status returns what is known of the exits, or nil if none is configured.
func (w *way) status() *status.Exits {
	if w.exits == nil {
		return nil
	}
	return w.exits.Exits()
}

// certificates returns those in use.
func (w *way) certificates() []status.Certificate {
	all := w.servers.Certificates()
	if w.exits == nil {
		return all
	}
	now := time.Now()
	for _, c := range w.exits.Certificates(now) {
		is := dialer.Describe(c.InUse, now)
		is.Exit, is.Seen = c.Exit, c.Seen
		all = append(all, is)
	}
	return all
}

// exitNames returns the exits as they were configured.
func exitNames(exits tunnel.Exits) []string {
	names := make([]string, 0, len(exits.Targets))
	for _, target := range exits.Targets {
		names = append(names, target.String())
	}
	return names
}
