// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoot-proxy/proxy-client/internal/admin"
	"github.com/shoot-proxy/proxy-client/internal/commandline"
	"github.com/shoot-proxy/proxy-client/internal/exitserver"
	"github.com/shoot-proxy/proxy-client/internal/httpserver"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
)

const (
	// handshakeTimeout limits TLS, and the wait for a client's first frame.
	handshakeTimeout = 10 * time.Second
	// certificateInterval is the time between two looks at the TLS files. Handshakes look
	// too.
	certificateInterval = 5 * time.Second
	// endDelay is how long clients may still connect after the first signal. A cluster needs
	// about a second until it sends them to another exit.
	endDelay = 2 * time.Second
	// restTimeout is how long a target may pause that still gets bytes of a client that has
	// gone.
	restTimeout = 30 * time.Second
	// abortGrace is how long the resets of open connections may take after a second signal.
	abortGrace = 500 * time.Millisecond
)

// serve runs the exit until a signal ends it, and the drain is over.
func serve(env environment, cfg *options.ProxyExitConfig) error {
	log := cfg.Log.Logger(env.stderr)
	registry := admin.NewRegistry()
	metrics := exitserver.NewMetrics(registry)
	version := commandline.VersionOf(env.version)
	metrics.SetVersion(version)
	policy, err := exitserver.OpenPolicy(cfg.Policy, metrics, log)
	if err != nil {
		return policyError(options.FlagPolicy, cfg.Policy, err)
	}
	files := tlsfiles.NewServer(cfg.TLS, cfg.TLSNames, log, func(role tlsfiles.Role, c *x509.Certificate) { metrics.SetCertificate(string(role), c.NotAfter) })
	listener, err := net.Listen("tcp", cfg.ListenAddress)
	if err != nil {
		return httpserver.CannotListen("--listen-address", cfg.ListenAddress, err)
	}
	exit := &exit{log: log, metrics: metrics, files: files, policy: policy}
	exit.server = exitserver.New(exitserver.Config{
		Listener: listener, Certificates: exit.certificates, Policy: policy.Current, Resolver: net.DefaultResolver,
		ClientCA:    cfg.TLSNames.CACert + "=" + cfg.TLS.CAFile,
		OwnPorts:    []uint16{portOf(cfg.ListenAddress), portOf(cfg.HealthAddress)},
		DialTimeout: cfg.DialTimeout, HandshakeTimeout: handshakeTimeout,
		EndDelay: min(endDelay, cfg.DrainTimeout/2), DrainTimeout: cfg.DrainTimeout, RestTimeout: restTimeout,
		Limits: limitsOf(cfg, openFiles(), log), Logger: log, Metrics: metrics,
	})
	exit.health, err = admin.Listen(cfg.HealthAddress, admin.Config{
		Live: []admin.Check{exit.server.Live}, Ready: []admin.Check{exit.server.Ready, exit.checkCertificate},
		Metrics: registry, Logger: log,
	})
	if err != nil {
		return errors.Join(httpserver.CannotListen(options.FlagHealthAddress, cfg.HealthAddress, err), listener.Close())
	}
	log.Info("proxy-exit started", "version", version, "listen", listener.Addr().String(), "health", exit.health.Addr().String(), "policy", cfg.Policy, "rules", policy.Current().Rules())
	return exit.untilSignalled(env)
}

// exit is a running exit.
type exit struct {
	log     *slog.Logger
	metrics *exitserver.Metrics
	files   *tlsfiles.Files
	policy  *exitserver.PolicyFile
	server  *exitserver.Server
	health  *admin.Server
}

// certificates returns what a handshake needs.
func (e *exit) certificates() (*exitserver.Certificates, error) {
	pair, clients, version, err := e.files.ServerConfig()
	if err != nil {
		return nil, err
	}
	return &exitserver.Certificates{Server: pair, Clients: clients, Version: version}, nil
}

// checkCertificate returns an error if no client could connect.
func (e *exit) checkCertificate() error {
	now := time.Now()
	if e.files.CheckClient(now) != nil {
		return errors.New("the server certificate is not valid now: renew it")
	}
	if e.files.CheckCAs(now) != nil {
		return errors.New("no CA of clients is valid now: renew them")
	}
	return nil
}

// untilSignalled serves until the first signal, and then until the drain is over or a
// second signal comes.
func (e *exit) untilSignalled(env environment) error {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	done := make(chan error, 1)
	go func() { done <- e.run(ctx) }()
	select {
	case err := <-done:
		return err
	case s := <-env.signals:
		e.log.Info("ending; a second signal ends at once", "signal", s.String())
		drain()
	}
	select {
	case err := <-done:
		return err
	case s := <-env.signals:
		e.log.Warn("ending at once", "signal", s.String())
		e.server.Abort()
	}
	select {
	case <-done:
	case <-time.After(abortGrace):
	}
	return errAborted
}

// run serves until ctx ends and the drain is over.
func (e *exit) run(ctx context.Context) error {
	// The health server goes on during the drain.
	rest, stopRest := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRest()
	tasks, running := errgroup.WithContext(ctx)
	tasks.Go(func() error {
		defer stopRest()
		return e.server.Run(running)
	})
	tasks.Go(func() error {
		err := e.health.Run(rest)
		if err != nil {
			return fmt.Errorf("health server: %w", err)
		}
		return nil
	})
	tasks.Go(func() error { return e.policy.Watch(rest, e.server.Recheck) })
	tasks.Go(func() error { return e.files.Watch(rest) })
	tasks.Go(func() error { return e.watchCertificates(rest) })
	return tasks.Wait()
}

// watchCertificates looks for changed files between handshakes, until ctx ends.
func (e *exit) watchCertificates(ctx context.Context) error {
	ticker := time.NewTicker(certificateInterval)
	defer ticker.Stop()
	version := e.files.Version()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			now := e.files.Version()
			e.metrics.SetCertificatesOK(!e.files.Broken())
			if now != version {
				version = now
				e.server.Recheck()
			}
		}
	}
}
