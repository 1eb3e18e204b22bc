// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// connection is the data of one accepted connection for its log line, and what release
// must give back.
type connection struct {
	source      netip.AddrPort
	destination netip.AddrPort // invalid until looked up
	accepted    time.Time
	dialled     time.Duration // how long the dial took, also if it failed
	server      string        // configured name; empty if no server was asked
	exit        string        // configured name; empty without an exit
	ids         tunnel.IDs    // of the tunnel, or of the dial that has failed
	early       int           // bytes of the app that the dial has sent

	id       uint64        // in Proxy.registry
	slot     int           // in Proxy.registry
	relaying atomic.Bool   // the fields above and monitor do not change any more
	monitor  relay.Monitor // of the relay

	inRoutes bool // it is in Proxy.routes
	inLimit  bool // it counts against --max-connections
}

// serve handles one connection from its accept until the relay has its tunnel. If there
// is no tunnel, serve closes app. ctx ends when the drain is over.
func (p *Proxy) serve(ctx context.Context, app *net.TCPConn) {
	p.metrics.active.Inc()
	c := &connection{source: app.RemoteAddr().(*net.TCPAddr).AddrPort(), accepted: time.Now()}
	tun := p.connect(ctx, c, app)
	if tun == nil {
		p.release(c)
		return
	}
	if raw, err := app.SyscallConn(); err == nil {
		_ = sockio.SetKeepaliveIdle(raw, p.idleTime()) // fails only if app is closed
	}
	c.monitor = relay.Start(ctx, app, p.counting(tun), relay.Options{
		HalfCloseTimeout: p.cfg.HalfCloseTimeout,
		IdleTimeout:      p.cfg.IdleTimeout,
		Buffers:          p.buffers,
		Pacer:            p.pacer(c.server),
		AppState:         func() relay.AppState { return p.appState(c) },
		SentEarly:        c.early,
	}, func(r relay.Result) {
		p.relayEnded(c, r)
		p.release(c)
	})
	c.relaying.Store(true)
}

// release gives back what c holds. It is the last use of c.
func (p *Proxy) release(c *connection) {
	if c.inLimit {
		p.connections.release()
		p.registry.remove(c)
	}
	if c.inRoutes {
		p.routes.remove(route{c.source, c.destination})
	}
	p.metrics.active.Dec()
	p.open.Add(-1)
	p.serving.Done()
}

// connect returns a tunnel to app's destination. If it makes none, it returns nil, and
// has answered or reset app.
func (p *Proxy) connect(ctx context.Context, c *connection, app *net.TCPConn) tunnel.Conn {
	destination, err := p.lookup(app)
	if err != nil {
		p.reject(c, app, ResultRefused, lookupError(err))
		return nil
	}
	c.destination = destination
	p.routes.add(route{c.source, c.destination})
	c.inRoutes = true
	if probe.IsTarget(p.cfg.CIDRs, destination) {
		p.answerProbe(c, app)
		return nil
	}
	_ = relay.Arm(app) // from here on, only an orderly end sends FIN
	if err := p.guard(destination); err != nil {
		p.reject(c, app, ResultRefused, err)
		return nil
	}
	if !p.connections.acquire() {
		p.tooMany(c, app)
		return nil
	}
	c.inLimit = true
	p.registry.add(c)
	tun, err := p.dial(ctx, c, app)
	if err != nil {
		p.reject(c, app, ResultFailed, err)
		return nil
	}
	p.metrics.dial.Observe(c.dialled.Seconds())
	p.history.dialled(c.dialled)
	return tun
}

// lookupError returns a tunnel.Error with the reason of a failed lookup.
func lookupError(err error) error {
	reason := tunnel.ReasonOther
	if errors.Is(err, origdst.ErrNotRedirected) {
		reason = ReasonNotRedirected
	}
	return &tunnel.Error{Reason: reason, Err: err}
}

// answerProbe answers a probe of init-redirect, or of this sidecar's own redirectWatch.
// The redirect works if the probe arrives here. It is logged at debug level, because it
// happens regularly.
func (p *Proxy) answerProbe(c *connection, app *net.TCPConn) {
	p.metrics.connections.inc(ResultProbe)
	err := probe.Answer(app, c.destination)
	p.logConnection(slog.LevelDebug, "probe answered", c, err)
}

// guard refuses destinations that must never be dialled, even if the rules redirect
// them.
func (p *Proxy) guard(destination netip.AddrPort) error {
	for _, ln := range p.cfg.Listeners {
		if ln.Addr().(*net.TCPAddr).AddrPort() == destination {
			return &tunnel.Error{Reason: ReasonLoop, Err: fmt.Errorf("%s is the sidecar's own listener", destination)}
		}
	}
	if p.cfg.Dialer.OwnsAddress(destination) {
		return &tunnel.Error{
			Reason: ReasonLoop,
			Err:    fmt.Errorf("%s is a proxy-server, which the sidecar reaches directly; exclude it with %s, in init-redirect too", destination, p.cfg.Names.ExcludeCIDR),
		}
	}
	if !p.cfg.CIDRs.Contains(destination.Addr()) {
		return &tunnel.Error{
			Reason: ReasonOutsideCIDRs,
			Err:    fmt.Errorf("%s is in no shoot CIDR, or excluded; do init-redirect and proxy-client have the same CIDRs?", destination.Addr()),
		}
	}
	return nil
}

// dial dials c's destination, until the app gives up or DialTimeout ends. The timeout
// includes the wait for a place among the dials in flight.
func (p *Proxy) dial(ctx context.Context, c *connection, app *net.TCPConn) (tunnel.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	p.dialling.Add(1)
	defer p.dialling.Add(-1)
	watch := watchApp(app, cancel, func() relay.AppState { return p.appState(c) })
	start := time.Now()
	tun, err := p.dialWithPlace(ctx, c.destination, watch)
	c.dialled = time.Since(start)
	gone := watch.stop()
	c.early = watch.Sent()
	p.countSent(c.early) // also if the dial has failed: the target may have them
	if tun != nil {
		gone = takeEarly(app, c.early) != nil || gone
	}
	if failed, ok := errors.AsType[*tunnel.Error](err); ok {
		c.server, c.ids = failed.Server, failed.IDs
	}
	if tun != nil {
		c.server, c.exit, c.ids = tun.Server(), tunnel.ExitOf(tun), tunnel.IDsOf(tun)
	}
	switch {
	case err != nil && gone && tunnel.ReasonOf(err) == tunnel.ReasonCancelled:
		return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: errAppGone}
	case err != nil:
		return nil, err
	case gone:
		_ = tunnel.Abort(tun) // the dial was faster than its cancellation
		return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: errAppGoneLate}
	}
	return tun, nil
}

// dialWithPlace dials when the dial limit grants a place. What early gives may go behind
// the dial.
func (p *Proxy) dialWithPlace(ctx context.Context, destination netip.AddrPort, early tunnel.Early) (tunnel.Conn, error) {
	if err := p.dials.acquire(ctx, destination); err != nil {
		return nil, err
	}
	place := &place{limit: p.dials, destination: destination}
	defer place.use()()
	if dialer, ok := p.cfg.Dialer.(tunnel.EarlyDialer); ok {
		return dialer.DialEarly(ctx, destination, place.use, early)
	}
	return p.cfg.Dialer.DialContext(ctx, destination, place.use)
}

// pacer returns the Pacer that all connections through a server share.
func (p *Proxy) pacer(server string) *relay.Pacer {
	pacer, ok := p.pacers.Load(server)
	if !ok {
		pacer, _ = p.pacers.LoadOrStore(server, new(relay.Pacer))
	}
	return pacer.(*relay.Pacer)
}

// The errors of a dial whose app has given up: before the dial had a result, or when it had
// just succeeded.
var (
	errAppGone     = errors.New("the app gave up while its target was dialled")
	errAppGoneLate = errors.New("the app gave up when its target had just been reached")
)

// appState asks the kernel for the state of the app's end of the connection. The kernel
// has both ends.
func (p *Proxy) appState(c *connection) relay.AppState {
	state, err := p.socket(c.source, c.destination)
	if err == nil && state == sockdiag.Unknown {
		// Two apps' connections from one port to two destinations both arrive at our
		// listener. So conntrack gives the second another port.
		state, err = p.search(c.source, c.destination, func(port uint16) bool {
			return p.routes.has(route{netip.AddrPortFrom(c.source.Addr(), port), c.destination})
		})
	}
	switch {
	case err != nil:
		p.log.Debug("the app's socket cannot be looked at; it counts as half-closed", "source", c.source.String(), "error", err)
		return relay.AppUnknown
	case state == sockdiag.Orphan:
		return relay.AppGone
	case state == sockdiag.Owned:
		return relay.AppHalfClosed
	default:
		return relay.AppUnknown
	}
}

// reject resets a connection without a tunnel, counts it, and logs the reason. If the
// app gave up, it is not logged as a failure.
func (p *Proxy) reject(c *connection, app *net.TCPConn, result Result, err error) {
	// Reset first, because the app waits. If the app has reset the connection itself,
	// this has no effect.
	_ = relay.Reset(app)
	reason := tunnel.ReasonOf(err)
	level := slog.LevelWarn
	if reason == tunnel.ReasonCancelled {
		result, level = ResultCancelled, slog.LevelInfo
	}
	p.metrics.connections.inc(result)
	p.metrics.failures.inc(reason)
	if reason != tunnel.ReasonCancelled {
		p.history.failed.Add(1)
	}
	p.notMade(level, reason, c, err)
}

// relayEnded counts and logs a connection after its relay has ended.
func (p *Proxy) relayEnded(c *connection, r relay.Result) {
	p.metrics.connections.inc(ResultRelayed)
	p.metrics.closes.inc(r.Reason)
	attributes := []slog.Attr{slog.String("reason", string(r.Reason)), slog.Int64("sent_bytes", r.Sent), slog.Int64("received_bytes", r.Received)}
	switch r.Reason {
	case relay.AppClosed, relay.AppReset, relay.TargetClosed, relay.TargetReset, relay.Idle:
		p.logConnection(slog.LevelInfo, "connection closed", c, p.relayError(r), attributes...)
	default: // the app got a reset that neither the app nor the target has caused
		err := p.relayError(r)
		p.logTogether(p.failures.addLogged(time.Now(), failureKey{status.FailureBroken, string(r.Reason), c.destination}, c, err))
		p.logConnection(slog.LevelWarn, "connection broken", c, err, attributes...)
	}
}

// relayError returns the error of r, with the name of the setting that has caused it.
func (p *Proxy) relayError(r relay.Result) error {
	var setting string
	switch {
	case errors.Is(r.Err, relay.ErrSlowReader):
		setting = p.cfg.Names.ConnectionBuffer
	case errors.Is(r.Err, relay.ErrTotal):
		setting = p.cfg.Names.TotalBuffer
	case r.Reason == relay.Idle:
		setting = p.cfg.Names.IdleTimeout
	default:
		return r.Err
	}
	return fmt.Errorf("%w (%s)", r.Err, setting)
}

// logConnection logs one line about c: the attributes of all connections, then more,
// then err if it is not nil.
func (p *Proxy) logConnection(level slog.Level, message string, c *connection, err error, more ...slog.Attr) {
	ctx := context.Background()
	if !p.log.Enabled(ctx, level) {
		return
	}
	attributes := make([]slog.Attr, 0, 12)
	attributes = append(attributes, slog.String("source", c.source.String()))
	if c.destination.IsValid() {
		attributes = append(attributes, slog.String("destination", c.destination.String()))
	}
	if c.server != "" {
		attributes = append(attributes, slog.String("server", c.server))
	}
	if c.exit != "" {
		attributes = append(attributes, slog.String("exit", c.exit))
	}
	if id := idText(c.ids.Dial); id != "" {
		attributes = append(attributes, slog.String("dial_id", id))
	}
	if id := idText(c.ids.Connection); id != "" {
		attributes = append(attributes, slog.String("connection_id", id))
	}
	if c.dialled > 0 {
		attributes = append(attributes, slog.Float64("dial_seconds", c.dialled.Seconds()))
	}
	attributes = append(attributes, slog.Float64("duration_seconds", time.Since(c.accepted).Seconds()))
	attributes = append(attributes, more...)
	if err != nil {
		attributes = append(attributes, slog.Any("error", err))
	}
	p.log.LogAttrs(ctx, level, message, attributes...)
}
