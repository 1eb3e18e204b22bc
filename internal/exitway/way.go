// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// fewestSlots is how many tunnels there are at least, so that the end of one does not
	// break all connections. More tunnels cost more: bytes of fewer streams leave together.
	fewestSlots = 2
	// mostSlots is how many tunnels there are at most if each has as many streams as its
	// exit allows. Tunnels that have been replaced are not counted.
	mostSlots = 8
	// answerTimeout is how long an exit may leave a dial without an answer until another
	// tunnel is tried. An exit gives a target 5 s.
	answerTimeout = 5500 * time.Millisecond
	// firstRetry is the pause before the tunnels are asked again if none could dial. It doubles
	// up to lastRetry.
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// Config is what a Way needs. All fields but Quota and Certificate are required.
type Config struct {
	Exits       tunnel.Exits        // at least one
	Names       tunnel.SettingNames // for errors
	Outer       Outer
	DialTimeout time.Duration // the whole budget of one dial
	// Quota bounds the memory that is held for all connections. Nil means no bound.
	Quota   *quota.Quota
	Logger  *slog.Logger
	Metrics *Metrics
	// Certificate records the life of a certificate: of the files, or with the name of an
	// exit that has shown it. Nil records none.
	Certificate func(role tlsfiles.Role, exit string, c *x509.Certificate)

	// Set by tests. If they are zero, New sets the real ones.
	times  times
	random func() float64 // in [0, 1)
	pause  func(ctx context.Context, d time.Duration)
}

// Way dials through exits. See the package comment.
type Way struct {
	cfg    Config
	log    *slog.Logger
	files  *tlsfiles.Files
	maker  *maker
	exits  []*exit
	more   chan struct{} // asks Run for another slot
	ending sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and those of the parts that say so
	slots    []*slot
	tunnels  map[*exitTunnel]struct{} // all that are open, also those that were replaced
	standing standing
	closed   bool
}

// New returns a Way. It opens no tunnel yet.
func New(cfg Config) (*Way, error) {
	if !cfg.Exits.Enabled() {
		return nil, errors.New("exitway: no exit")
	}
	if cfg.random == nil {
		cfg.random = rand.Float64
	}
	if cfg.pause == nil {
		cfg.pause = pause.For
	}
	cfg.times = cfg.times.withDefaults()
	w := &Way{cfg: cfg, log: cfg.Logger, more: make(chan struct{}, 1), tunnels: map[*exitTunnel]struct{}{}}
	w.standing.changed = make(chan struct{})
	w.files = newFiles(&w.cfg)
	w.maker = &maker{names: cfg.Names, tls: cfg.Exits.TLS, outer: cfg.Outer, files: w.files, held: cfg.Quota, room: w.roomMade, background: &w.ending}
	for _, target := range cfg.Exits.Targets {
		w.exits = append(w.exits, &exit{target: target})
		cfg.Metrics.addExit(target.String())
	}
	for range min(max(fewestSlots, len(w.exits)), mostSlots) {
		w.addSlot()
	}
	return w, nil
}

// addSlot adds a slot whose first tunnel goes to the exit that is next in turn. Only New
// calls it without mu.
func (w *Way) addSlot() *slot {
	own := len(w.slots) % len(w.exits)
	s := &slot{way: w, own: own, next: own}
	w.slots = append(w.slots, s)
	return s
}

// Run keeps tunnels to the exits until ctx ends. Tunnels that are open then go on.
func (w *Way) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.files.Watch(ctx) })
	run := func(s *slot) { g.Go(func() error { return s.run(ctx) }) }
	for _, s := range w.slots {
		run(s)
	}
	g.Go(func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-w.more:
			}
			w.mu.Lock()
			if len(w.slots) < mostSlots {
				run(w.addSlot())
			}
			w.mu.Unlock()
		}
	})
	return g.Wait()
}

// Close ends all tunnels. Call it when all Conns are closed and Run has returned.
func (w *Way) Close() error {
	w.mu.Lock()
	w.closed = true
	open := make([]*exitTunnel, 0, len(w.tunnels))
	for t := range w.tunnels {
		open = append(open, t)
	}
	w.mu.Unlock()
	for _, t := range open {
		_ = t.session.Close()
	}
	w.ending.Wait()
	return nil
}

// OwnsAddress reports whether a belongs to a proxy-server.
func (w *Way) OwnsAddress(a netip.AddrPort) bool { return w.cfg.Outer.OwnsAddress(a) }

// DialContext implements tunnel.Dialer. It dials dst through an exit, or the plain way
// while no exit answers and none is required.
//
// One budget covers everything: Config.DialTimeout, or the deadline of ctx if that is
// earlier. An exit's answer about the target is final. A server that is no exit does not count
// as one that answers.
func (w *Way) DialContext(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, error) {
	return w.DialEarly(ctx, dst, hold, nil)
}

// DialEarly implements tunnel.EarlyDialer. An exit gets what the app sends behind the dial.
// If its tunnel then breaks before the answer, the target may have those bytes, so the dial
// is not repeated.
func (w *Way) DialEarly(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold, early tunnel.Early) (tunnel.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.DialTimeout)
	defer cancel()
	// Half of the budget remains for the plain way.
	patience := time.NewTimer(w.cfg.DialTimeout / 2)
	defer patience.Stop()
	var tried []*exitTunnel
	var full []tunnel.HostPort // exits that are at a limit. Each is asked once between two pauses.
	var last *tunnel.Error
	var pauses int
	for {
		is := w.pick(tried, full)
		if is.tunnel != nil {
			conn, err := w.dialOn(ctx, is.tunnel, dst, early)
			none := w.judge(ctx, is.tunnel, err)
			if err == nil {
				return conn, nil
			}
			if !none && (!err.Fault.Elsewhere() || err.Fault.Lasting()) {
				return nil, err
			}
			if early != nil && early.Sent() > 0 {
				err.Err = fmt.Errorf("%w; the dial is not repeated, because the target may have the first bytes of the app", err.Err)
				return nil, err
			}
			last = err
			if atLimit(err) {
				full = append(full, is.tunnel.target)
			}
			if tried = append(tried, is.tunnel); ctx.Err() == nil {
				continue
			}
		}
		if ctx.Err() != nil {
			return nil, w.notDialled(ctx, last)
		}
		if is.cause != nil && !w.cfg.Exits.Required {
			return w.dialPlain(ctx, dst, hold)
		}
		if is.cause != nil && is.cause.Fault.Lasting() {
			return nil, is.cause
		}
		if len(tried) > 0 { // each of them could not dial
			w.cfg.pause(ctx, doubled(firstRetry, pauses, lastRetry))
			pauses++
			full = nil // another tunnel may lead to another exit of the same name
			if !w.others(tried) {
				tried = nil
			}
			continue
		}
		if !w.await(ctx, is.changed, patience.C) {
			return w.dialPlain(ctx, dst, hold)
		}
	}
}

// await waits until a dial without a tunnel should look again. It returns false if the dial
// has waited long enough to take the plain way.
func (w *Way) await(ctx context.Context, changed <-chan struct{}, patience <-chan time.Time) bool {
	if w.cfg.Exits.Required {
		patience = nil
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-patience:
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.usable() != nil // they may be full
	}
	return true
}

// dialPlain dials dst without an exit.
func (w *Way) dialPlain(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, error) {
	w.cfg.Metrics.plain.Inc()
	return w.cfg.Outer.DialContext(ctx, dst, hold)
}

// notDialled returns the error of a dial whose ctx has ended. last is the error of its last
// attempt, or nil.
func (w *Way) notDialled(ctx context.Context, last *tunnel.Error) *tunnel.Error {
	w.mu.Lock()
	cause, usable := w.standing.cause, w.usable()
	w.mu.Unlock()
	if errors.Is(ctx.Err(), context.Canceled) {
		is := &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: errGaveUp}
		if last != nil {
			is.Server, is.IDs = last.Server, last.IDs
		}
		return is
	}
	switch {
	case last != nil:
	case cause != nil:
		last = cause
	case usable != nil:
		return &tunnel.Error{
			Reason: tunnel.ReasonMaxConnections, Server: usable.server, IDs: usable.ids, Fault: tunnel.FaultServer, Next: raiseStreams,
			Err: fmt.Errorf("each tunnel has as many connections as the exit allows (exit %s: %d)", usable.target, usable.session.Limit()),
		}
	default:
		return &tunnel.Error{Reason: tunnel.ReasonExitUnreachable, Fault: tunnel.FaultServer, Err: errNoTunnelYet}
	}
	is := *last
	is.Err = fmt.Errorf("%w (tried until the dial timeout ended)", last.Err)
	return &is
}

var (
	errGaveUp      = errors.New("the exit has not answered")
	errNoTunnelYet = errors.New("no tunnel to an exit was made within the dial timeout")
)

// pick is the result of Way.pick.
type pick struct {
	tunnel  *exitTunnel   // for a dial, which release must give back; nil if there is none
	cause   *tunnel.Error // why no exit answers, if that is known and so
	changed <-chan struct{}
}

// pick returns the usable tunnel with the fewest streams that is not in tried, and does not go
// to one of full. It counts the dial as a stream. A tunnel that is quiet may be dead, so it
// comes last.
func (w *Way) pick(tried []*exitTunnel, full []tunnel.HostPort) pick {
	w.mu.Lock()
	defer w.mu.Unlock()
	is := pick{cause: w.standing.cause, changed: w.standing.changed}
	var quiet bool // is.tunnel is
	for _, s := range w.slots {
		t := s.current
		if t == nil || !t.takes() || slices.Contains(tried, t) || slices.Contains(full, t.target) {
			continue
		}
		q := t.session.Quiet()
		if is.tunnel == nil || quiet && !q || quiet == q && t.streams < is.tunnel.streams {
			is.tunnel, quiet = t, q
		}
	}
	switch {
	case is.tunnel != nil:
		is.tunnel.streams++
		if is.tunnel.streams > is.tunnel.session.Limit()/4*3 {
			w.askForMore()
		}
	case w.usable() != nil && len(tried) == 0:
		w.standing.waiting = true
		w.askForMore()
	}
	return is
}

// others reports whether there is a tunnel for a dial that is not in tried.
func (w *Way) others(tried []*exitTunnel) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.slots, func(s *slot) bool {
		return s.current != nil && s.current.takes() && !slices.Contains(tried, s.current)
	})
}

// askForMore asks Run for another slot. The caller holds mu.
func (w *Way) askForMore() {
	if len(w.slots) < mostSlots {
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}

// usable returns a tunnel that takes streams, or would if it were not full. The caller holds
// mu.
func (w *Way) usable() *exitTunnel {
	for _, s := range w.slots {
		if t := s.current; t != nil && t.stands() {
			return t
		}
	}
	return nil
}

// roomMade lets dials that wait for room look again.
func (w *Way) roomMade() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.standing.waiting {
		w.standing.notify()
	}
}

// release gives back the place of a stream on t. It closes t if that was replaced and has
// no more streams.
func (w *Way) release(t *exitTunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.streams--
	if w.standing.waiting {
		w.standing.notify()
	}
	w.closeIfUnused(t)
}

// closeIfUnused closes a tunnel that was replaced and has no streams. The caller holds mu.
func (w *Way) closeIfUnused(t *exitTunnel) {
	if t.replaced && t.streams == 0 {
		w.ending.Go(func() { _ = t.session.Close() })
	}
}
