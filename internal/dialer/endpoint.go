// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/connectmode"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// lookPause is how long the result of a failed attempt answers for all who
	// need the endpoint: a herd of dials must not become a herd of connections.
	lookPause = 200 * time.Millisecond
	// minBlameWait is how long a dial must have waited for its failure to be held
	// against the endpoint, where it was not the endpoint that ended it: apps
	// give up sooner than we do.
	minBlameWait = 2 * time.Second
	// suspectAfter is how long dials may all wait before new ones go elsewhere first.
	// Where one destination is at fault, others' answers disperse it.
	suspectAfter = time.Second
)

var errDeparted = errors.New("its name does not resolve to this address any more")

// endpoint is one place where a server is reached: one of its addresses, or its
// Unix socket.
type endpoint struct {
	*serverconn.Endpoint
	server *server
	looks  *attempts // at whether it can be reached
	gone   context.Context
	depart context.CancelFunc // ends gone: for new dials the address is the server's no more

	// protocols has each mode that a server may speak. It does not change.
	protocols map[tunnel.Mode]protocol

	load atomic.Int64 // connections, and dials
	up   atomic.Bool  // whether the last look succeeded and its connection lasts

	watched atomic.Bool
	wake    chan struct{} // tells the watch to look

	mu      sync.Mutex // guards what follows: what dials have shown of the endpoint
	aside   setAside
	waiting int       // dials
	since   time.Time // when a dial was last answered, or the first of those waiting began
}

func newEndpoint(s *server, addr netip.AddrPort) *endpoint {
	e := &endpoint{Endpoint: s.dialer.connector.Endpoint(s.Server, addr), server: s, wake: make(chan struct{}, 1)}
	e.looks = &attempts{background: &s.dialer.background, run: e.look, pause: lookPause}
	e.gone, e.depart = context.WithCancel(s.dialer.life)
	e.protocols = protocolsOf(e)
	return e
}

func newUnixEndpoint(s *server) *endpoint { return newEndpoint(s, netip.AddrPort{}) }

// candidate is what the endpoint is to a dial that chooses now.
func (e *endpoint) candidate(now time.Time) candidate {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := candidate{load: e.load.Load(), until: e.aside.until}
	switch {
	case e.aside.failures == 0:
		if e.waiting > 0 && now.Sub(e.since) > suspectAfter {
			c.rank = rankSuspect
		}
	case e.aside.unreachable && (e.looks.running() || e.aside.aside(now, e.watched.Load())):
		c.rank = rankUnreachable
	case e.looks.running() || e.aside.aside(now, false):
		c.rank = rankAside
	}
	return c
}

// claim counts a dial that is about to try.
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

// try dials dst, and draws from how it went what to think of the endpoint. It
// ends claim.
func (e *endpoint) try(ctx context.Context, dst netip.AddrPort, claim int, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	conn, err := e.dial(ctx, dst, hold)
	if err != nil {
		e.load.Add(-1) // otherwise conn counts, until it has ended
	}
	e.judge(ctx, err, began, claim)
	return conn, err
}

// dial connects to dst in the server's mode, after what has to come first.
func (e *endpoint) dial(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	if err := e.prepare(ctx); err != nil {
		return nil, err
	}
	conn, err, fit := e.protocols[e.mode()].Dial(ctx, dst, hold)
	switch fit {
	case serverconn.Fits:
		return conn, err
	case serverconn.SpeaksHTTP2:
		e.server.learn(tunnel.ModeGRPC, serverconn.ALPNHTTP2)
	case serverconn.Unclear:
		// It may speak something else, which a look finds out.
		if looked := e.Reach(ctx); looked != nil && looked.Fault.Lasting() {
			return nil, looked
		}
		if e.server.speaks() != tunnel.ModeGRPC {
			return nil, err
		}
	}
	conn, err, _ = e.protocols[tunnel.ModeGRPC].Dial(ctx, dst, hold)
	return conn, err
}

// mode returns the mode in which a dial speaks to the server now.
func (e *endpoint) mode() tunnel.Mode {
	if mode := e.server.speaks(); mode != tunnel.ModeAuto {
		return mode
	}
	return tunnel.ModeHTTPConnect
}

// prepare waits for a look where a dial would otherwise fail, or do the same by
// itself as all others: where the mode is not known, and where the endpoint
// could not be reached. A shared connection that lasts is worth a try.
func (e *endpoint) prepare(ctx context.Context) *tunnel.Error {
	e.mu.Lock()
	unreachable := e.aside.unreachable
	e.mu.Unlock()
	if (!unreachable || e.keepsAny()) && e.server.speaks() != tunnel.ModeAuto {
		return nil
	}
	return e.Reach(ctx)
}

// Reach waits for the result of a look.
func (e *endpoint) Reach(ctx context.Context) *tunnel.Error {
	return e.looks.wait(ctx, func() *tunnel.Error {
		return e.Unreachable(ctx, fmt.Errorf("connecting to %s: %w", e.Address(), context.Cause(ctx)))
	})
}

// look connects to the endpoint as it is done for a dial. In gRPC mode the
// connection is kept, as the one that new streams share.
func (e *endpoint) look() *tunnel.Error {
	began := time.Now()
	ctx, cancel := context.WithTimeout(e.gone, serverconn.CheckTimeout)
	defer cancel()
	err := e.greet(ctx)
	if e.gone.Err() != nil {
		return e.Departed()
	}
	if err != nil && err.Fault.Ours() {
		return err
	}
	e.mu.Lock()
	if err == nil {
		e.aside.reached()
	} else {
		e.aside.failed(began, time.Now(), true, e.server.dialer.random())
	}
	e.mu.Unlock()
	if err != nil {
		e.failed()
		e.server.refresh()
		e.poke()
		e.setUp(false, err)
		return err
	}
	e.setUp(true, nil)
	return nil
}

// Departed is the error of an endpoint for which gone has ended.
func (e *endpoint) Departed() *tunnel.Error {
	return &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: e.server.Name, Err: errDeparted, Fault: tunnel.FaultUnreachable}
}

// greet connects, finds out the mode of the server if that is not known, and greets
// the server in it.
func (e *endpoint) greet(ctx context.Context) *tunnel.Error {
	files := e.server.dialer.certs.Version()
	conn, alpn, err := e.NewConnection(ctx)
	if err != nil {
		return err
	}
	mode := e.server.modeBy(alpn)
	if mode != tunnel.ModeGRPC {
		err = e.protocols[tunnel.ModeHTTPConnect].Greet(ctx, conn, files)
		settings := err != nil && errors.Is(err, connectmode.ErrSettings)
		switch {
		case err == nil:
			e.server.learn(tunnel.ModeHTTPConnect, alpn)
			return nil
		case mode != "" || !settings:
			if is := e.misfit(ctx, alpn, err); is != nil {
				return is
			}
			return err
		}
		// It speaks HTTP/2, and something in between has left ALPN out.
		if conn, _, err = e.NewConnection(ctx); err != nil {
			return err
		}
	}
	e.server.learn(tunnel.ModeGRPC, alpn)
	return e.protocols[tunnel.ModeGRPC].Greet(ctx, conn, files)
}

// NewConnection connects as a dial does.
func (e *endpoint) NewConnection(ctx context.Context) (net.Conn, string, *tunnel.Error) {
	return e.server.dialer.connect(ctx, e)
}

// Gone ends when the address is the server's no more.
func (e *endpoint) Gone() context.Context { return e.gone }

// Several reports whether there is a choice of endpoints.
func (e *endpoint) Several() bool { return e.server.dialer.several() }

// ConnectionEnded counts a connection that is over.
func (e *endpoint) ConnectionEnded() { e.load.Add(-1) }

// Patient reports whether a dial that began at began has waited long enough for a
// missing answer to mean something.
func (e *endpoint) Patient(began time.Time) bool {
	return time.Since(began) >= min(minBlameWait, e.server.dialer.timeout/2)
}

// judge draws the consequences from a dial that began at began and ended with
// err.
func (e *endpoint) judge(ctx context.Context, err *tunnel.Error, began time.Time, claim int) {
	now := time.Now()
	d := e.server.dialer
	e.mu.Lock()
	old := e.aside
	e.waiting--
	judged := verdictOn(err, serverconn.Interrupted(ctx) && !e.Patient(began))
	switch judged {
	case answered:
		e.aside.succeeded()
		e.since = now
	case failed:
		e.aside.failed(began, now, err.Fault.Unreachable(), d.random())
	case inconclusive:
	}
	e.aside.release(claim)
	is := e.aside
	e.mu.Unlock()
	if judged == failed {
		e.failed()
	}
	level := slog.LevelDebug
	if d.several() {
		level = slog.LevelInfo
	}
	switch {
	case old.failures == 0 && is.failures > 0:
		d.log.Log(ctx, level, "proxy-server set aside", "server", e.server.Name, "address", e.Address(), "reason", tunnel.ReasonOf(err), "error", err)
		if err.Reason != tunnel.ReasonNoAgent { // the server is there: it said so
			e.poke()
		}
	case old.failures > 0 && is.failures == 0:
		d.log.Log(ctx, level, "proxy-server in use again", "server", e.server.Name, "address", e.Address())
	}
	if is.unreachable {
		e.server.refresh()
	}
}

// verdict is what a dial's end says about the endpoint.
type verdict int

const (
	inconclusive verdict = iota
	answered
	failed
)

// verdictOn judges a dial that ended with err. early says that its context, the
// budget's or the app's, has ended it before the endpoint had its time.
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

// poke wakes the watch.
func (e *endpoint) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// setUp records whether the endpoint can be reached.
func (e *endpoint) setUp(up bool, err *tunnel.Error) {
	if old := e.up.Swap(up); old != up {
		e.server.dialer.log.Debug("address of proxy-server", "server", e.server.Name, "address", e.Address(), "up", up)
	}
	e.server.tell(err)
}
