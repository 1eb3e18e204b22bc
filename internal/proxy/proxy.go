// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// checkInterval is the default of Config.CheckInterval.
const checkInterval = 30 * time.Second

// Dialer makes the tunnelled connections. *dialer.Dialer implements it.
type Dialer interface {
	tunnel.Dialer
	// OwnsAddress reports whether a belongs to a proxy-server.
	OwnsAddress(a netip.AddrPort) bool
}

// Config configures a Proxy. A field is required unless its comment says what its zero
// value means.
type Config struct {
	Listeners []*net.TCPListener // from Listen; Run closes them
	CIDRs     *cidr.Set          // destinations that may be dialled
	Dialer    Dialer
	Names     tunnel.SettingNames // for errors

	DialTimeout         time.Duration // for a whole dial, including the wait for a place
	MaxDials            int           // dials in flight; one destination may have a quarter
	MaxConnections      int           // open connections, without probes
	HalfCloseTimeout    time.Duration // of the relay
	IdleTimeout         time.Duration // of the relay; 0 means no limit
	ConnectionBuffer    int           // bytes held for one app
	Quota               *quota.Quota  // for the bytes held for all apps and targets
	DrainTimeout        time.Duration // for open connections after Run's context has ended; 0 resets them at once
	AcceptWhileDraining bool          // accept for the whole DrainTimeout
	CheckInterval       time.Duration // between two probes of the redirect; 0 means 30 s
	// Check probes the redirect for one family's target. Nil means probe.Check.
	Check func(ctx context.Context, target netip.AddrPort) error

	Logger  *slog.Logger
	Metrics *Metrics
}

// Proxy is the sidecar's data path. Use New to make one.
type Proxy struct {
	cfg     Config
	log     *slog.Logger
	metrics *Metrics

	// Tests replace these, to run without a redirect in the kernel.
	lookup   func(syscall.Conn) (netip.AddrPort, error)
	socket   func(local, remote netip.AddrPort) (sockdiag.State, error)
	search   func(local, remote netip.AddrPort, known func(uint16) bool) (sockdiag.State, error)
	idleTime func() time.Duration // how long an app's connection is idle until it is probed

	routes   routes
	registry registry
	failures failures
	history  history
	redirect redirectResults

	connections    connectionLimit
	tooManyWarning limitedWarning // counts connections beyond the limit
	dials          *dialLimit
	buffers        *relay.Buffers
	pacers         sync.Map // *relay.Pacer by proxy-server

	state    atomic.Int32   // one of the constants below
	open     atomic.Int64   // connections being served
	dialling atomic.Int64   // of these, those that wait for a tunnel
	serving  sync.WaitGroup // waits for connections being served
	aborted  chan struct{}
	abort    sync.Once
}

// The states of a Proxy, in their order.
const (
	idle int32 = iota
	listening
	draining
	ended
)

// New returns a Proxy that is not running.
func New(cfg Config) *Proxy {
	if cfg.CheckInterval <= 0 {
		cfg.CheckInterval = checkInterval
	}
	if cfg.Check == nil {
		cfg.Check = probe.Check
	}
	buffers := relay.NewBuffers(cfg.ConnectionBuffer, cfg.Quota)
	dials := newDialLimit(cfg.MaxDials, cfg.Names.MaxDials)
	cfg.Metrics.watchBuffers(buffers)
	cfg.Metrics.watchDials(dials)
	cfg.Metrics.setLimits(cfg)
	return &Proxy{
		connections: connectionLimit{max: int64(cfg.MaxConnections)},
		dials:       dials,
		buffers:     buffers,
		cfg:         cfg,
		log:         cfg.Logger,
		metrics:     cfg.Metrics,
		lookup:      origdst.Lookup,
		socket:      sockdiag.Lookup,
		search:      sockdiag.Search,
		idleTime:    keepaliveIdle,
		aborted:     make(chan struct{}),
	}
}

// Live returns nil while connections are accepted or drained.
func (p *Proxy) Live() error {
	if state := p.state.Load(); state != listening && state != draining {
		return errors.New("not listening")
	}
	return nil
}

// Ready returns nil while new connections are accepted: not before Run, and not during
// the drain.
func (p *Proxy) Ready() error {
	switch p.state.Load() {
	case listening:
		return nil
	case draining:
		return errors.New("draining")
	default:
		return errors.New("not listening")
	}
}

// Abort ends a drain, or Run, at once: open connections are reset. It may be called at
// any time and repeatedly. It does not wait.
func (p *Proxy) Abort() { p.abort.Do(func() { close(p.aborted) }) }

// Run accepts and serves connections until ctx ends, and then drains them as the
// package comment says. It returns after all its goroutines have ended. It returns an
// error only if a listener was closed by other code. A Proxy runs once.
func (p *Proxy) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	// Connections may continue after ctx ends, during the drain.
	connCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	reset := func() {
		p.dials.close()
		cancel()
	}
	defer reset()
	handle := func(app *net.TCPConn) {
		p.open.Add(1)
		p.serving.Add(1)
		go p.serve(connCtx, app)
	}

	accepting, stopAccepting := context.WithCancel(connCtx)
	defer stopAccepting()
	var loops sync.WaitGroup
	tasks, running := errgroup.WithContext(ctx)
	for _, ln := range p.cfg.Listeners {
		loops.Add(1)
		tasks.Go(func() error {
			defer loops.Done()
			return accept(accepting, ln, ln.Addr(), handle, p.log)
		})
	}
	tasks.Go(func() error { return p.watchRedirect(running) })
	summaries := p.startSummaries()
	defer summaries()
	p.state.Store(listening)

	select {
	case <-running.Done(): // ctx ended, or a listener failed
	case <-p.aborted:
		stop()
	}
	p.state.Store(draining)
	p.drain(reset, func() {
		stopAccepting()
		for _, ln := range p.cfg.Listeners {
			ln.Close() //nolint:errcheck // it can only be closed already
		}
		loops.Wait()
	})
	err := tasks.Wait()
	p.state.Store(ended)
	return err
}

// drain returns when no connection is left. The last one has ended, or those that were
// open at the timeout or at Abort were reset.
func (p *Proxy) drain(reset, stopAccepting func()) {
	p.log.Info("draining", "open", p.open.Load(), "timeout", p.cfg.DrainTimeout.String(), "accepting", p.cfg.AcceptWhileDraining)
	timeout := time.NewTimer(p.cfg.DrainTimeout)
	defer timeout.Stop()
	if p.cfg.AcceptWhileDraining {
		// An app that is ending too may still connect. So the drain lasts for the whole
		// time, even if no connection is open now.
		select {
		case <-timeout.C:
		case <-p.aborted:
		}
	}
	// After this no connection is added, so the rest can be waited for.
	stopAccepting()
	done := make(chan struct{})
	go func() {
		p.serving.Wait()
		close(done)
	}()
	if !p.cfg.AcceptWhileDraining {
		select {
		case <-done:
		case <-timeout.C:
		case <-p.aborted:
		}
	}
	left := p.open.Load()
	reset()
	<-done
	p.log.Info("drained", "reset", left)
}
