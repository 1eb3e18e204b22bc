// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoot-proxy/proxy-client/internal/admin"
	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/httpserver"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/proxy"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/statusserver"
)

// untilSignalled runs serve until it returns. At the first signal, or at a request of the
// status page, it ends the context of serve. At the next signal it closes aborted, and
// then waits for abortGrace at most. An element of requests says where one came from.
func untilSignalled(signals <-chan os.Signal, requests <-chan string, log *slog.Logger, serve func(ctx context.Context, aborted <-chan struct{}) error) error {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	aborted := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- serve(ctx, aborted) }()

	select {
	case err := <-done:
		return err
	case s := <-signals:
		log.Info("ending; a second signal ends at once", "signal", s.String())
		drain()
	case from := <-requests:
		log.Info("ending, as the status page was asked to drain; a signal ends at once", "from", from)
		drain()
	}
	select {
	case err := <-done:
		return err
	case s := <-signals:
		log.Warn("ending at once", "signal", s.String())
		close(aborted)
	}
	select {
	case <-done:
	case <-time.After(abortGrace):
	}
	return errAborted
}

// sidecar is what serve needs.
type sidecar struct {
	environment
	cfg      *options.ProxyClientConfig
	settings []status.Setting // as given
	log      *slog.Logger
	drains   chan string // requests of the status page for a drain, by their source
}

// serve runs the sidecar until ctx has ended and the drain is over. If aborted is closed,
// it cuts the drain short.
func (s *sidecar) serve(ctx context.Context, aborted <-chan struct{}) error {
	cfg, log := s.cfg, s.log
	started := time.Now()
	registry, names := admin.NewRegistry(), options.SettingNames()
	held := quota.New(int(cfg.TotalBuffer))
	way, err := newWay(cfg, log, registry, held)
	if err != nil {
		return err
	}
	// If a signal comes this early, Run below ends as usual.
	listeners, err := proxy.Listen(context.WithoutCancel(ctx), cfg.Listen, names)
	if err != nil {
		return errors.Join(err, way.Close())
	}
	files := openFiles()
	limit, why := connectionLimit(cfg, files, memoryLimit(), log)
	metrics := proxy.NewMetrics(registry)
	version := commandline.VersionOf(s.version)
	metrics.SetVersion(version)
	data := proxy.New(proxy.Config{
		Listeners: listeners, CIDRs: cfg.CIDRs, Dialer: way.Dialer, Names: names,
		DialTimeout: cfg.DialTimeout, MaxDials: cfg.MaxDials, MaxConnections: limit,
		HalfCloseTimeout: cfg.HalfCloseTimeout, IdleTimeout: cfg.IdleTimeout, DrainTimeout: cfg.DrainTimeout, AcceptWhileDraining: cfg.AcceptWhileDraining,
		ConnectionBuffer: int(cfg.ConnectionBuffer), Quota: held,
		Check:  s.checkRedirect,
		Logger: log, Metrics: metrics,
	})
	health, err := admin.Listen(cfg.HealthAddress, admin.Config{
		Live: []admin.Check{data.Live}, Ready: append([]admin.Check{data.Ready}, way.ready...), Notes: way.notes,
		Metrics: registry, Logger: log, Connections: proxy.HealthConnections(files),
	})
	if err != nil {
		err = httpserver.CannotListen(options.FlagHealthAddress, cfg.HealthAddress, err)
		return errors.Join(err, closeAll(listeners), way.Close())
	}
	page, err := listenStatus(cfg.AdminAddress, isGiven(s.settings, options.FlagAdminAddress), statusserver.Config{
		Documents: documents{
			version: version, started: started, settings: effective(s.settings, cfg, limit, why), data: data, way: way,
		}.all(),
		Drain: func(from string) {
			select {
			case s.drains <- from:
			default: // one was enough
			}
		},
		Logger: log, Connections: proxy.AdminConnections(files),
	})
	if err != nil {
		return errors.Join(err, closeAll(listeners), health.Close(), way.Close())
	}
	announce(log, cfg, limit, health, page, version)

	// The way to targets and the health server go on until the data path has drained.
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	tasks, running := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		defer stopRest()
		return named("proxy", data.Run(running))
	})
	tasks.Go(func() error {
		err := way.Run(rest)
		if err != nil { // a server must not be used, so a drain is pointless
			data.Abort()
		}
		return named("dialer", err)
	})
	tasks.Go(func() error { return named("health server", health.Run(rest)) })
	if page != nil {
		tasks.Go(func() error {
			runStatus(rest, page, log)
			return nil
		})
	}
	tasks.Go(func() error {
		select {
		case <-aborted:
			data.Abort()
		case <-rest.Done():
		}
		return nil
	})
	return errors.Join(tasks.Wait(), way.Close())
}

func closeAll(listeners []*net.TCPListener) error {
	var err error
	for _, ln := range listeners {
		err = errors.Join(err, ln.Close())
	}
	return err
}

// named says which task failed.
func named(task string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", task, err)
	}
	return nil
}

// announce logs the version and the configuration of this sidecar.
func announce(log *slog.Logger, cfg *options.ProxyClientConfig, connections int, health *admin.Server, page *statusserver.Server, version string) {
	servers := make([]string, 0, len(cfg.Servers))
	for _, s := range cfg.Servers {
		servers = append(servers, fmt.Sprintf("%s (%s)", s.Name, s.Mode))
	}
	statusPage := "none"
	if page != nil {
		statusPage = page.Addr().String()
	}
	attributes := []any{
		"version", version,
		"listen", text(cfg.Listen),
		"health", health.Addr().String(),
		"admin", statusPage,
		"servers", servers,
		"max_connections", connections,
		"shoot_cidrs", text(cfg.CIDRs.Shoot()),
		"excluded_cidrs", text(cfg.CIDRs.Excluded()),
	}
	if cfg.Exits.Enabled() {
		attributes = append(attributes, "exits", exitNames(cfg.Exits))
	}
	log.Info("proxy-client started", attributes...)
	for _, list := range cfg.CIDRs.EmptyLists() {
		log.Warn("--exclude-cidr leaves nothing of "+list, "next", "exclude less, or leave out "+list)
	}
}

func text[T netip.AddrPort | netip.Prefix](list []T) []string {
	texts := make([]string, 0, len(list))
	for _, item := range list {
		texts = append(texts, fmt.Sprint(item))
	}
	return texts
}
