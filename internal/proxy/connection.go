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

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/probe"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/sockdiag"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/pkg/origdst"
)

// connection is what the log line says about one connection.
type connection struct {
	source      netip.AddrPort
	destination netip.AddrPort // invalid until looked up
	accepted    time.Time
	dialled     time.Duration // how long the dial took, also a failed one
	server      string        // configured name; empty where none was asked
}

// serve takes one connection from its accept to its end, and closes app. It
// returns when nothing of it is left. ctx ends when the drain is over.
func (p *Proxy) serve(ctx context.Context, app *net.TCPConn) {
	p.metrics.active.Inc()
	defer p.metrics.active.Dec()
	c := &connection{source: app.RemoteAddr().(*net.TCPAddr).AddrPort(), accepted: time.Now()}

	destination, err := p.lookup(app)
	if err != nil {
		p.notMade(c, app, ResultRefused, lookupError(err))
		return
	}
	c.destination = destination
	defer p.remember(c.source, c.destination)()
	if probe.IsTarget(p.cfg.CIDRs, destination) {
		p.answerProbe(c, app)
		return
	}
	_ = relay.Arm(app) // from here on nothing but an orderly end is one
	if err := p.guard(destination); err != nil {
		p.notMade(c, app, ResultRefused, err)
		return
	}
	if !p.connections.enter() {
		p.tooMany(app)
		return
	}
	defer p.connections.leave()
	tun, err := p.dial(ctx, c, app)
	if err != nil {
		p.notMade(c, app, ResultFailed, err)
		return
	}
	p.metrics.dial.Observe(c.dialled.Seconds())
	p.relayed(c, relay.Run(ctx, app, &counted{tun, p.metrics.sent, p.metrics.received}, relay.Options{
		HalfCloseTimeout: p.cfg.HalfCloseTimeout,
		IdleTimeout:      p.cfg.IdleTimeout,
		Buffers:          p.buffers,
		Pacer:            p.pacer(c.server),
		AppState:         func() relay.AppState { return p.appState(c) },
	}))
}

// lookupError gives a failed lookup its reason.
func lookupError(err error) error {
	reason := tunnel.ReasonOther
	if errors.Is(err, origdst.ErrNotRedirected) {
		reason = tunnel.ReasonNotRedirected
	}
	return &tunnel.Error{Reason: reason, Err: err}
}

// answerProbe tells init-redirect, or this sidecar's own watch, that the
// redirect leads here. Not worth a line at the usual level: it happens for ever.
func (p *Proxy) answerProbe(c *connection, app *net.TCPConn) {
	p.metrics.connections.WithLabelValues(string(ResultProbe)).Inc()
	err := probe.Answer(app, c.destination)
	p.log.Debug("probe answered", p.attributes(c, "error", err)...)
}

// guard refuses what must never be dialled, whatever the rules let through.
func (p *Proxy) guard(destination netip.AddrPort) error {
	for _, ln := range p.cfg.Listeners {
		if ln.Addr().(*net.TCPAddr).AddrPort() == destination {
			return &tunnel.Error{Reason: tunnel.ReasonLoop, Err: fmt.Errorf("%s is the sidecar's own listener", destination)}
		}
	}
	if p.cfg.Dialer.OwnsAddress(destination) {
		return &tunnel.Error{
			Reason: tunnel.ReasonLoop,
			Err:    fmt.Errorf("%s is a proxy-server, which the sidecar reaches directly; exclude it with --exclude-cidr, in init-redirect too", destination),
		}
	}
	if !p.cfg.CIDRs.Contains(destination.Addr()) {
		return &tunnel.Error{
			Reason: tunnel.ReasonOutsideCIDRs,
			Err:    fmt.Errorf("%s is in no shoot CIDR, or excluded; do init-redirect and proxy-client have the same CIDRs?", destination.Addr()),
		}
	}
	return nil
}

// dial dials c's destination for as long as the app wants it and the budget
// lasts, which covers the wait for a place among the dials as well.
func (p *Proxy) dial(ctx context.Context, c *connection, app *net.TCPConn) (tunnel.Conn, error) {
	budget, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	dialCtx, stop := watchApp(budget, app, func() relay.AppState { return p.appState(c) })
	start := time.Now()
	tun, err := p.dialInTurn(dialCtx, c.destination)
	c.dialled = time.Since(start)
	gone := stop()
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
	return p.cfg.Dialer.DialContext(tunnel.WithHold(ctx, place.use), destination)
}

// pacer returns what all connections through a server share.
func (p *Proxy) pacer(server string) *relay.Pacer {
	pacer, _ := p.pacers.LoadOrStore(server, new(relay.Pacer))
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
			return p.serving(netip.AddrPortFrom(c.source.Addr(), port), c.destination)
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

// route is where a connection comes from, as accepted, and where its app wanted
// it to go.
type route struct{ source, destination netip.AddrPort }

// remember notes that the connection from source to destination is open, until
// the returned function is called.
func (p *Proxy) remember(source, destination netip.AddrPort) (forget func()) {
	r := route{source, destination}
	p.routes.Store(r, nil)
	return func() { p.routes.Delete(r) }
}

// serving reports whether the connection from source to destination is open.
func (p *Proxy) serving(source, destination netip.AddrPort) bool {
	_, ok := p.routes.Load(route{source, destination})
	return ok
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
	p.metrics.connections.WithLabelValues(string(result)).Inc()
	p.metrics.failures.WithLabelValues(string(reason)).Inc()
	p.log.Log(context.Background(), level, "connection not made", p.attributes(c, "reason", string(reason), "error", err)...)
}

// relayed counts and logs a connection that had its tunnel.
func (p *Proxy) relayed(c *connection, r relay.Result) {
	p.metrics.connections.WithLabelValues(string(ResultRelayed)).Inc()
	p.metrics.closes.WithLabelValues(string(r.Reason)).Inc()
	level, message := slog.LevelInfo, "connection closed"
	switch r.Reason {
	case relay.AppClosed, relay.AppReset, relay.TargetClosed, relay.Idle:
	default: // the app saw a reset that neither it nor the target asked for
		level, message = slog.LevelWarn, "connection broken"
	}
	p.log.Log(context.Background(), level, message,
		p.attributes(c, "reason", string(r.Reason), "sent_bytes", r.Sent, "received_bytes", r.Received, "error", r.Err)...)
}

// attributes are those that every connection's line has, then more, of which an
// error comes last and is left out where there is none.
func (p *Proxy) attributes(c *connection, more ...any) []any {
	attributes := []any{"source", c.source.String()}
	if c.destination.IsValid() {
		attributes = append(attributes, "destination", c.destination.String())
	}
	if c.server != "" {
		attributes = append(attributes, "server", c.server)
	}
	if c.dialled > 0 {
		attributes = append(attributes, "dial_seconds", c.dialled.Seconds())
	}
	attributes = append(attributes, "duration_seconds", time.Since(c.accepted).Seconds())
	if err, _ := more[len(more)-1].(error); err == nil {
		more = more[:len(more)-2]
	}
	return append(attributes, more...)
}

// counted counts bytes as they pass, for a download of an hour should show
// while it lasts.
type counted struct {
	tunnel.Conn
	sent, received prometheus.Counter
}

// Send implements relay.Tunnel.
func (c *counted) Send(b []byte) error {
	err := c.Conn.Send(b)
	if err == nil {
		c.sent.Add(float64(len(b)))
	}
	return err
}

// Receive implements relay.Tunnel.
func (c *counted) Receive() ([]byte, error) {
	b, err := c.Conn.Receive()
	c.received.Add(float64(len(b)))
	return b, err
}
