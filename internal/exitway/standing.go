// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"cmp"
	"context"
	"crypto/x509"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// standing says whether dials can use an exit. Way.mu guards it.
//
//   - A tunnel is usable: dials use it. cause is nil.
//   - None is, and an attempt is under way: dials wait. cause is nil.
//   - None is, and an attempt has failed: dials take the plain way, or fail. cause is set.
type standing struct {
	cause   *tunnel.Error
	waiting bool          // a dial waits for room on a tunnel
	told    bool          // the log has a first line about an exit
	changed chan struct{} // closed when dials that wait should look again
}

// notify wakes the dials that wait. The caller holds Way.mu.
func (s *standing) notify() {
	s.waiting = false
	close(s.changed)
	s.changed = make(chan struct{})
}

// exit is one configured exit. Way.mu guards it.
type exit struct {
	target  tunnel.HostPort
	failure *tunnel.Error     // of the last attempt; nil if that succeeded
	doubted bool              // it was no exit, and the next tunnel has to show that it is one
	silent  bool              // the log says that it does not answer
	told    time.Time         // when the log last said that
	shown   *x509.Certificate // of the chain at its last handshake, the one that expires first
	seen    time.Time         // when that was
	proven  atomic.Bool       // it has answered a dial as only a proxy does; not guarded
}

// open opens a tunnel to e.
func (w *Way) open(ctx context.Context, e *exit) (*exitTunnel, *tunnel.Error) {
	t, err := w.maker.open(ctx, e.target, w.drains, w.ended)
	if err != nil {
		return nil, err
	}
	w.showed(e, t)
	w.register(t)
	if err := w.identify(ctx, e, t); err != nil {
		w.dismiss(t)
		return nil, err
	}
	return t, nil
}

func (w *Way) register(t *exitTunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tunnels[t] = struct{}{}
	select {
	case <-t.over: // ended was too early
		delete(w.tunnels, t)
	default:
	}
}

// begin notes that s begins to make a tunnel to e.
func (w *Way) begin(s *slot, e *exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s.trying, s.began = e, time.Now()
}

// hopes reports whether an attempt of another slot than s may still succeed: it began after
// that of s, or its exit has not failed. The caller holds mu.
func (w *Way) hopes(s *slot) bool {
	for _, other := range w.slots {
		if other != s && other.trying != nil && (other.began.After(s.began) || other.trying.failure == nil) {
			return true
		}
	}
	return false
}

// install makes t the tunnel of s for new dials. Streams of the one before go on.
func (w *Way) install(s *slot, t *exitTunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := s.current; old != nil {
		old.replaced = true
		w.closeIfUnused(old)
	}
	s.current, s.trying = t, nil
	exit := w.exitOf(t)
	exit.failure = nil
	if !t.stands() {
		return // its end is noticed by the slot
	}
	about := []any{"exit", t.target, "server", t.server}
	if t.ids.Dial != 0 {
		about = append(about, "dial_id", strconv.FormatInt(t.ids.Dial, 10))
	}
	switch {
	case w.standing.cause != nil || !w.standing.told:
		w.log.Info("exit in use", about...)
	case exit.silent:
		w.log.Info("the exit answers again", about...)
	}
	exit.silent = false
	w.standing.cause, w.standing.told = nil, true
	w.standing.notify()
	w.report()
	w.tellSilent()
}

// tellSilent logs exits that do not answer while another does. The log has one line until the
// exit answers again, and one in times.tell at most. The caller holds mu.
func (w *Way) tellSilent() {
	for _, e := range w.exits {
		if e.failure == nil || e.silent || w.tunnelsTo(e) > 0 || w.usable() == nil || time.Since(e.told) < w.cfg.times.tell {
			continue
		}
		e.silent, e.told = true, time.Now()
		w.warn("an exit does not answer; new connections use the others", e.target, e.failure)
	}
}

// warn logs what becomes of connections because no tunnel to an exit could be made.
func (w *Way) warn(consequence string, exit tunnel.HostPort, err *tunnel.Error) {
	w.log.Warn(consequence, "exit", exit, "server", err.Server, "reason", err.Reason, "error", err, "next", cmp.Or(err.Next, cure.NotMade(string(err.Reason))))
}

// tunnelsTo returns how many tunnels to e take new connections. The caller holds mu.
func (w *Way) tunnelsTo(e *exit) int {
	n := 0
	for _, s := range w.slots {
		if t := s.current; t != nil && t.target == e.target && t.stands() {
			n++
		}
	}
	return n
}

// dismiss closes a tunnel that was never installed.
func (w *Way) dismiss(t *exitTunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t.replaced = true
	w.closeIfUnused(t)
}

// lacks notes that s could make no tunnel to e, for the reason in err. If no other slot has
// one or may soon have one, dials do not wait any longer.
func (w *Way) lacks(s *slot, e *exit, err *tunnel.Error) {
	w.cfg.Metrics.failed(e.target.String(), err.Reason)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lack(s, e, err)
}

// lack is lacks for a caller that holds mu and counts the failure elsewhere.
func (w *Way) lack(s *slot, e *exit, err *tunnel.Error) {
	e.failure, s.trying = err, nil
	w.tellSilent()
	if w.usable() != nil || w.standing.cause == nil && w.hopes(s) {
		return
	}
	first := w.standing.cause == nil
	w.standing.cause = err
	w.report()
	if !first {
		return
	}
	consequence := "no exit answers; new connections go to their targets without it"
	if w.cfg.Exits.Required {
		consequence = "no exit answers; new connections fail, because an exit is required"
	}
	w.warn(consequence, e.target, err)
	w.standing.notify()
}

// drains notes that t takes no more streams.
func (w *Way) drains(t *exitTunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drain(t)
}

// drain takes t out of use for new streams. The caller holds mu.
func (w *Way) drain(t *exitTunnel) {
	if !t.draining {
		t.draining = true
		close(t.drains)
		w.report()
	}
}

// ended notes that t has ended.
func (w *Way) ended(t *exitTunnel) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.tunnels, t)
	w.report()
}

// mayReplace reports whether a tunnel may be replaced that could go on.
func (w *Way) mayReplace() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tunnels)-len(w.slots) < mostReplaced
}

// exitOf returns the exit of t.
func (w *Way) exitOf(t *exitTunnel) *exit {
	for _, e := range w.exits {
		if e.target == t.target {
			return e
		}
	}
	return nil
}

// report brings the metrics up to date. The caller holds mu.
func (w *Way) report() {
	for _, e := range w.exits {
		w.cfg.Metrics.tunnels.WithLabelValues(e.target.String()).Set(float64(w.tunnelsTo(e)))
	}
	fallback := 0.0
	if w.standing.cause != nil && !w.cfg.Exits.Required {
		fallback = 1
	}
	w.cfg.Metrics.fallback.Set(fallback)
}
