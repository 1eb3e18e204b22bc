// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/h2proxy"
	"github.com/shoot-proxy/proxy-client/internal/httpsproxy"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// checkPause is how long the result of a failed check holds for all dials that need
	// the endpoint. Without it, each dial would connect again.
	checkPause = 200 * time.Millisecond
	// minBlameWait is how long a dial must have waited until its failure counts against
	// the endpoint, if the endpoint did not end it. Apps give up sooner than we do.
	minBlameWait = 2 * time.Second
	// suspectAfter is how long the dials of an endpoint may all wait until new ones
	// prefer another endpoint. If one destination is the cause, answers from other
	// destinations prevent this.
	suspectAfter = time.Second
)

var errGone = errors.New("its name does not resolve to this address any more")

// endpoint is one address of a server, or its Unix socket.
type endpoint struct {
	*serverconn.Endpoint
	shared *shared
	server *server
	checks *attempts // whether the endpoint can be reached
	gone   context.Context
	remove context.CancelFunc // ends gone: new dials must not use the address any more

	// protocols has each mode that a server may speak. It does not change.
	protocols map[tunnel.Mode]protocol

	load atomic.Int64 // connections and dials
	up   atomic.Bool  // the last check succeeded, and its connection lasts

	certificate atomic.Pointer[status.Certificate] // that the server has shown last, for people
	shown       atomic.Pointer[x509.Certificate]   // of the chain that was accepted last, the one that expires first

	watched atomic.Bool
	wake    chan struct{} // tells the watch to check

	mu          sync.Mutex // guards the fields below: what dials have shown of the endpoint
	aside       setAside
	waiting     int           // dials without an answer
	lastFailure *tunnel.Error // for people
	dialSeconds float64       // of successful dials, a moving average; 0 before the first
	answered    time.Time     // when a dial was last answered; zero before the first
	upSince     time.Time     // when up became true; zero while it is false
	since       time.Time     // when a dial was last answered, or when the first of the waiting ones began
}

func newEndpoint(s *server, addr netip.AddrPort) *endpoint {
	e := &endpoint{Endpoint: s.shared.connector.Endpoint(s.Server, addr), shared: s.shared, server: s, wake: make(chan struct{}, 1)}
	e.checks = &attempts{background: &s.shared.background, run: e.check, pause: checkPause}
	e.gone, e.remove = context.WithCancel(s.shared.life)
	e.protocols = protocolsOf(e)
	return e
}

func newUnixEndpoint(s *server) *endpoint { return newEndpoint(s, netip.AddrPort{}) }

// candidate returns what a dial that picks at now has to know of the endpoint.
func (e *endpoint) candidate(now time.Time) candidate {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := candidate{load: e.load.Load(), until: e.aside.until}
	switch {
	case e.aside.failures == 0:
		if e.waiting > 0 && now.Sub(e.since) > suspectAfter && !e.waitsForTargets() {
			c.rank = rankSuspect
		}
	case e.aside.unreachable && (e.checks.running() || e.aside.isAside(now, e.watched.Load())):
		c.rank = rankUnreachable
	case e.checks.running() || e.aside.isAside(now, false):
		c.rank = rankAside
	}
	return c
}

// claim counts a dial that is about to begin. It returns what dial wants.
func (e *endpoint) claim() int {
	e.load.Add(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.waiting == 0 {
		e.since = time.Now()
	}
	e.waiting++
	return e.aside.claim()
}

// dial dials dst, and judges the endpoint by the result. It ends claim.
func (e *endpoint) dial(ctx context.Context, dst tunnel.Target, claim int, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	var conn tunnel.Conn
	err := e.checkIfNeeded(limited)
	if err == nil && e.waitsForTargets() {
		conn, err = e.dialPatiently(ctx, dst, hold)
		limited = ctx
	} else if err == nil {
		conn, err = e.dialByMode(limited, dst, hold)
	}
	if err != nil {
		e.load.Add(-1) // otherwise conn counts until it has ended
	}
	e.judge(limited, err, began, claim)
	return conn, err
}

// dialByMode dials dst in the mode of the server.
func (e *endpoint) dialByMode(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	mode := e.mode()
	conn, err, fit := e.protocols[mode].Dial(ctx, dst, hold)
	switch fit {
	case serverconn.SpeaksHTTP2:
		e.server.learn(tunnel.ModeGRPC, serverconn.ALPNHTTP2)
	case serverconn.Unclear:
		// The server may speak another protocol. A check finds that out.
		if looked := e.Check(ctx); looked != nil && looked.Fault.Lasting() {
			return nil, looked
		}
		if e.mode() == mode {
			return nil, err
		}
	default:
		e.server.prove(fit)
		return conn, err
	}
	conn, err, _ = e.protocols[e.mode()].Dial(ctx, dst, hold)
	return conn, err
}

// mode returns the mode in which a dial speaks to the server now.
func (e *endpoint) mode() tunnel.Mode {
	if mode := e.server.speaks(); mode != tunnel.ModeAuto {
		return mode
	}
	return tunnel.ModeHTTPConnect
}

// checkIfNeeded waits for a check if the mode is not known, or if the endpoint could
// not be reached. Without it the dial would fail, or every dial would find out the same
// for itself. A shared connection that lasts needs no check.
func (e *endpoint) checkIfNeeded(ctx context.Context) *tunnel.Error {
	e.mu.Lock()
	unreachable := e.aside.unreachable
	e.mu.Unlock()
	if (!unreachable || e.keepsAny()) && e.server.speaks() != tunnel.ModeAuto {
		return nil
	}
	return e.Check(ctx)
}

// Check waits for the result of a check.
func (e *endpoint) Check(ctx context.Context) *tunnel.Error {
	return e.checks.wait(ctx, func() *tunnel.Error {
		return e.Unreachable(ctx, fmt.Errorf("connecting to %s: %w", e.Address(), context.Cause(ctx)))
	})
}

// check connects to the endpoint and does the handshake, as a dial would. In gRPC mode
// it keeps the connection for new streams.
func (e *endpoint) check() *tunnel.Error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(e.gone, serverconn.CheckTimeout)
	defer cancel()
	err := e.connectAndGreet(ctx)
	if e.gone.Err() != nil {
		return e.GoneError()
	}
	if err != nil && err.Fault.Ours() {
		return err
	}
	e.mu.Lock()
	if err == nil {
		e.aside.reached()
	} else {
		e.aside.failed(began, time.Now(), true, e.shared.random())
		e.lastFailure = err
	}
	e.mu.Unlock()
	if err != nil {
		e.failed()
		e.shared.metrics.serverFailed(e.server.Name, err.Reason)
		e.server.refresh()
		e.wakeWatch()
		e.setUp(false, err)
		if !e.server.isUp() {
			e.server.forget()
		}
		return err
	}
	e.setUp(true, nil)
	return nil
}

// GoneError returns the error of an endpoint for which gone has ended.
func (e *endpoint) GoneError() *tunnel.Error {
	return &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: e.server.Name, Err: errGone, Fault: tunnel.FaultUnreachable}
}

// Connect connects and does the handshake.
func (e *endpoint) Connect(ctx context.Context) (net.Conn, string, *tunnel.Error) {
	return e.shared.connect(ctx, e, e.server.protos())
}

// Gone ends when the server's name does not resolve to the address any more.
func (e *endpoint) Gone() context.Context { return e.gone }

// Several reports whether there is a choice of endpoints.
func (e *endpoint) Several() bool { return e.shared.several() }

// ConnectionEnded counts a connection that has ended.
func (e *endpoint) ConnectionEnded() { e.load.Add(-1) }

// WaitedLongEnough reports whether a dial that began at began has waited so long that a
// missing answer counts against the endpoint.
func (e *endpoint) WaitedLongEnough(began time.Time) bool {
	return time.Since(began) >= e.blameWait()
}

// blameWait returns how long a dial has to wait until a missing answer counts.
func (e *endpoint) blameWait() time.Duration { return min(minBlameWait, e.shared.timeout/2) }

// judge counts the result of a dial for or against the endpoint. The dial began at
// began and ended with err.
func (e *endpoint) judge(ctx context.Context, err *tunnel.Error, began time.Time, claim int) {
	now := time.Now()
	d := e.shared
	e.mu.Lock()
	old := e.aside
	e.waiting--
	judged := verdictOn(err, serverconn.Interrupted(ctx) && !e.WaitedLongEnough(began))
	if err != nil && (errors.Is(err, httpsproxy.ErrSilent) || errors.Is(err, h2proxy.ErrSilent)) {
		judged = inconclusive // it is most likely the target that is silent
	}
	switch judged {
	case answered:
		e.aside.succeeded()
		e.since, e.answered = now, now
	case failed:
		e.aside.failed(began, now, err.Fault.Unreachable(), d.random())
	case inconclusive:
	}
	e.noteDial(now.Sub(began), judged, err)
	e.aside.release(claim)
	is := e.aside
	e.mu.Unlock()
	if judged == failed {
		e.failed()
		e.shared.metrics.serverFailed(e.server.Name, err.Reason)
	}
	level := slog.LevelDebug
	if d.several() {
		level = slog.LevelInfo
	}
	switch {
	case old.failures == 0 && is.failures > 0:
		d.log.Log(ctx, level, "proxy-server set aside", "server", e.server.Name, "address", e.Address(), "reason", tunnel.ReasonOf(err), "error", err)
		if err.Reason != tunnel.ReasonNoAgent { // otherwise the server has answered, so a check would succeed
			e.wakeWatch()
		}
	case old.failures > 0 && is.failures == 0:
		d.log.Log(ctx, level, "proxy-server in use again", "server", e.server.Name, "address", e.Address())
	}
	if is.unreachable {
		e.server.refresh()
	}
}

// verdict is what the end of a dial says about the endpoint.
type verdict int

const (
	inconclusive verdict = iota
	answered
	failed
)

// verdictOn returns the verdict on a dial that ended with err. early says that the
// budget or the app has ended it too soon to blame the endpoint.
func verdictOn(err *tunnel.Error, early bool) verdict {
	switch {
	case err == nil:
		return answered
	case early, err.Fault.Ours():
		return inconclusive
	case err.Fault.Elsewhere(), err.Reason == tunnel.ReasonProtocol, err.Reason == tunnel.ReasonCancelled:
		return failed
	default:
		return answered // about the target
	}
}

// wakeWatch tells the watch to check.
func (e *endpoint) wakeWatch() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// setUp records whether the endpoint can be reached.
func (e *endpoint) setUp(up bool, err *tunnel.Error) {
	if old := e.up.Swap(up); old != up {
		e.mu.Lock()
		e.upSince = time.Time{}
		if up {
			e.upSince = time.Now()
		}
		e.mu.Unlock()
		e.shared.log.Debug("address of proxy-server", "server", e.server.Name, "address", e.Address(), "up", up)
	}
	e.server.report(err)
}
