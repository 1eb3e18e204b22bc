// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// connection is one accepted connection: what its log line says, and what has to
// be given back at its end.
type connection struct {
	source      netip.AddrPort
	destination netip.AddrPort // invalid until looked up
	accepted    time.Time
	dialled     time.Duration // how long the dial took, also a failed one
	server      string        // configured name; empty where none was asked

	remembered bool // it is among the routes
	counts     bool // against --max-connections
}

// serve takes one connection from its accept to its tunnel, where the relay takes
// over, and closes app where it gets none. ctx ends when the drain is over.
func (p *Proxy) serve(ctx context.Context, app *net.TCPConn) {
	p.metrics.active.Inc()
	c := &connection{source: app.RemoteAddr().(*net.TCPAddr).AddrPort(), accepted: time.Now()}
	tun := p.connect(ctx, c, app)
	if tun == nil {
		p.leave(c)
		return
	}
	relay.Start(ctx, app, &counted{tun, p.metrics}, relay.Options{
		HalfCloseTimeout: p.cfg.HalfCloseTimeout,
		IdleTimeout:      p.cfg.IdleTimeout,
		Buffers:          p.buffers,
		Pacer:            p.pacer(c.server),
		AppState:         func() relay.AppState { return p.appState(c) },
	}, func(r relay.Result) {
		p.relayed(c, r)
		p.leave(c)
	})
}

// leave gives back what c holds. Nothing of it is left then.
func (p *Proxy) leave(c *connection) {
	if c.counts {
		p.connections.leave()
	}
	if c.remembered {
		p.routes.forget(route{c.source, c.destination})
	}
	p.metrics.active.Dec()
	p.open.Add(-1)
	p.serving.Done()
}

// connect returns the tunnel to where app wanted to go. Where there is none it
// returns nil, and app was dealt with.
func (p *Proxy) connect(ctx context.Context, c *connection, app *net.TCPConn) tunnel.Conn {
	destination, err := p.lookup(app)
	if err != nil {
		p.notMade(c, app, ResultRefused, lookupError(err))
		return nil
	}
	c.destination = destination
	p.routes.remember(route{c.source, c.destination})
	c.remembered = true
	if probe.IsTarget(p.cfg.CIDRs, destination) {
		p.answerProbe(c, app)
		return nil
	}
	_ = relay.Arm(app) // from here on nothing but an orderly end is one
	if err := p.guard(destination); err != nil {
		p.notMade(c, app, ResultRefused, err)
		return nil
	}
	if !p.connections.enter() {
		p.tooMany(app)
		return nil
	}
	c.counts = true
	tun, err := p.dial(ctx, c, app)
	if err != nil {
		p.notMade(c, app, ResultFailed, err)
		return nil
	}
	p.metrics.dial.Observe(c.dialled.Seconds())
	return tun
}

// lookupError gives a failed lookup its reason.
func lookupError(err error) error {
	reason := tunnel.ReasonOther
	if errors.Is(err, origdst.ErrNotRedirected) {
		reason = ReasonNotRedirected
	}
	return &tunnel.Error{Reason: reason, Err: err}
}

// answerProbe tells init-redirect, or this sidecar's own watch, that the
// redirect leads here. Not worth a line at the usual level: it happens for ever.
func (p *Proxy) answerProbe(c *connection, app *net.TCPConn) {
	p.metrics.connections.inc(ResultProbe)
	err := probe.Answer(app, c.destination)
	p.tell(slog.LevelDebug, "probe answered", c, err)
}

// guard refuses what must never be dialled, whatever the rules let through.
func (p *Proxy) guard(destination netip.AddrPort) error {
	for _, ln := range p.cfg.Listeners {
		if ln.Addr().(*net.TCPAddr).AddrPort() == destination {
			return &tunnel.Error{Reason: ReasonLoop, Err: fmt.Errorf("%s is the sidecar's own listener", destination)}
		}
	}
	if p.cfg.Dialer.OwnsAddress(destination) {
		return &tunnel.Error{
			Reason: ReasonLoop,
			Err:    fmt.Errorf("%s is a proxy-server, which the sidecar reaches directly; exclude it with --exclude-cidr, in init-redirect too", destination),
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

// dial dials c's destination for as long as the app wants it and the budget
// lasts, which covers the wait for a place among the dials as well.
func (p *Proxy) dial(ctx context.Context, c *connection, app *net.TCPConn) (tunnel.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	watch := watchApp(app, cancel, func() relay.AppState { return p.appState(c) })
	start := time.Now()
	tun, err := p.dialInTurn(ctx, c.destination)
	c.dialled = time.Since(start)
	gone := watch.stop()
	if failed, ok := errors.AsType[*tunnel.Error](err); ok {
		c.server = failed.Server
	}
	if tun != nil {
		c.server = tun.Server()
	}
	switch {
	case err != nil && gone && tunnel.ReasonOf(err) == tunnel.ReasonCancelled:
		return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: errAppGone}
	case err != nil:
		return nil, err
	case gone:
		_ = tun.Close() // the dial was faster than its cancellation
		return nil, &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: errAppGone}
	}
	return tun, nil
}

// dialInTurn dials once the dials in flight leave a place for it.
func (p *Proxy) dialInTurn(ctx context.Context, destination netip.AddrPort) (tunnel.Conn, error) {
	if err := p.dials.acquire(ctx, destination); err != nil {
		return nil, err
	}
	place := &place{limit: p.dials, destination: destination}
	defer place.use()()
	return p.cfg.Dialer.DialContext(ctx, destination, place.use)
}

// pacer returns what all connections through a server share.
func (p *Proxy) pacer(server string) *relay.Pacer {
	pacer, ok := p.pacers.Load(server)
	if !ok {
		pacer, _ = p.pacers.LoadOrStore(server, new(relay.Pacer))
	}
	return pacer.(*relay.Pacer)
}

var errAppGone = errors.New("the app gave up before the target was reached")

// appState asks the kernel, which has the app's side of the connection as well,
// what the app did to it.
func (p *Proxy) appState(c *connection) relay.AppState {
	state, err := p.socket(c.source, c.destination)
	if err == nil && state == sockdiag.Unknown {
		// Two apps' connections from one port to two destinations meet at our
		// listener, so conntrack gives the second another port there.
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

// notMade resets a connection for which there is no tunnel, counts it, and logs
// why. That the app gave up is no failure of ours.
func (p *Proxy) notMade(c *connection, app *net.TCPConn, result Result, err error) {
	// The app first: it waits. Where it has reset the connection itself, there
	// is nobody to tell.
	_ = relay.Reset(app)
	reason := tunnel.ReasonOf(err)
	level := slog.LevelWarn
	if reason == tunnel.ReasonCancelled {
		result, level = ResultCancelled, slog.LevelInfo
	}
	p.metrics.connections.inc(result)
	p.metrics.failures.inc(reason)
	p.tell(level, "connection not made", c, err, slog.String("reason", string(reason)))
}

// relayed counts and logs a connection that had its tunnel.
func (p *Proxy) relayed(c *connection, r relay.Result) {
	p.metrics.connections.inc(ResultRelayed)
	p.metrics.closes.inc(r.Reason)
	level, message := slog.LevelInfo, "connection closed"
	switch r.Reason {
	case relay.AppClosed, relay.AppReset, relay.TargetClosed, relay.Idle:
	default: // the app saw a reset that neither it nor the target asked for
		level, message = slog.LevelWarn, "connection broken"
	}
	p.tell(level, message, c, r.Err,
		slog.String("reason", string(r.Reason)), slog.Int64("sent_bytes", r.Sent), slog.Int64("received_bytes", r.Received))
}

// tell logs c's line: what every connection's has, then more, then err, where there
// is one.
func (p *Proxy) tell(level slog.Level, message string, c *connection, err error, more ...slog.Attr) {
	ctx := context.Background()
	if !p.log.Enabled(ctx, level) {
		return
	}
	attributes := make([]slog.Attr, 0, 10)
	attributes = append(attributes, slog.String("source", c.source.String()))
	if c.destination.IsValid() {
		attributes = append(attributes, slog.String("destination", c.destination.String()))
	}
	if c.server != "" {
		attributes = append(attributes, slog.String("server", c.server))
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

// counted counts bytes as they pass, for a download of an hour should show
// while it lasts.
type counted struct {
	tunnel.Conn
	metrics *Metrics
}

// Send implements relay.Tunnel.
func (c *counted) Send(b []byte) error {
	err := c.Conn.Send(b)
	if err == nil {
		c.metrics.sent.Add(float64(len(b)))
	}
	return err
}

// Receive implements relay.Tunnel.
func (c *counted) Receive() ([]byte, error) {
	b, err := c.Conn.Receive()
	c.metrics.received.Add(float64(len(b)))
	return b, err
}
