// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// probeTarget is dialled to tell an exit from a web server: after an answer that may be of
// either, and on a new tunnel to an exit that has turned out to be none. An exit dials it on
// its own loopback device, where nothing listens on port 1 (tcpmux, RFC 1078), or forbids it.
const probeTarget = "127.0.0.1:1"

// judge notes what the end of a dial on t says about its exit. err is nil after a success.
// judge reports whether the exit is none: a web server, which answers CONNECT with a status
// such as 404.
//
// A proxy may also answer in this way, for a target that it does not serve, and is then not
// gone around. So such an answer alone proves nothing: the probe's target must have it too.
// An exit that has answered as a proxy once counts as one for ever.
func (w *Way) judge(ctx context.Context, t *exitTunnel, err *tunnel.Error) (none bool) {
	e := w.exitOf(t)
	switch {
	case e.proven.Load():
	case showsProxy(err):
		w.prove(e)
	case noProxys(err) != "":
		if what := w.probe(ctx, e, t); what != "" {
			return w.disprove(e, w.maker.isNone(t, what))
		}
	}
	return false
}

// prove notes that e has answered as only a proxy does.
func (w *Way) prove(e *exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.proven.Store(true)
	e.doubted = false
}

// probe dials the probe's target on t. If the answer says that CONNECT is not accepted, probe
// returns it in words.
func (w *Way) probe(ctx context.Context, e *exit, t *exitTunnel) string {
	failed := t.probe(ctx)
	if showsProxy(failed) {
		w.prove(e)
	}
	return noProxys(failed)
}

// probe dials the probe's target on t, and returns how that ended.
func (t *exitTunnel) probe(ctx context.Context) *tunnel.Error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	carrier, err := t.session.DialEarly(ctx, probeTarget, nil)
	if err != nil {
		return t.dialError(ctx, err)
	}
	_ = carrier.Close()
	return nil
}

// showsProxy reports whether only a proxy ends a dial in this way.
func showsProxy(err *tunnel.Error) bool {
	if err == nil {
		return true
	}
	refusal, ok := errors.AsType[*h2connect.Refusal](err)
	return ok && (refusal.ProxyError != "" || refusal.Status == http.StatusForbidden)
}

// noProxys returns the answer of a dial in words if it is that of a web server to a method or a
// path that it does not have, and "" otherwise.
func noProxys(err *tunnel.Error) string {
	if err == nil {
		return ""
	}
	refusal, ok := errors.AsType[*h2connect.Refusal](err)
	if !ok || refusal.ProxyError != "" {
		return ""
	}
	switch refusal.Status {
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return fmt.Sprintf("status %d", refusal.Status)
	default:
		return ""
	}
}

// isNone returns the error of a tunnel to a server that answers CONNECT with what.
func (m *maker) isNone(t *exitTunnel, what string) *tunnel.Error {
	return t.misfits(m.notAnExit(t.target), "it answers CONNECT with %s, as web servers do", what)
}

// disprove takes all tunnels to e out of use, because it is no exit. It returns false if e has
// shown meanwhile that it is one.
func (w *Way) disprove(e *exit, err *tunnel.Error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.proven.Load() {
		return false
	}
	e.doubted = true
	for _, s := range w.slots {
		if t := s.current; t != nil && t.target == e.target && t.stands() {
			t.none = err
			t.replaced = true // by none
			w.drain(t)
			w.closeIfUnused(t)
			w.lack(s, e, err)
		}
	}
	return true
}

// whyNone returns why the server at the end of t is no exit, or nil.
func (w *Way) whyNone(t *exitTunnel) *tunnel.Error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return t.none
}

// identify returns an error if e has turned out to be no exit, and the server at the end of t
// is none either.
func (w *Way) identify(ctx context.Context, e *exit, t *exitTunnel) *tunnel.Error {
	w.mu.Lock()
	doubted := e.doubted
	w.mu.Unlock()
	if !doubted {
		return nil
	}
	what := w.probe(ctx, e, t)
	switch broken := t.session.Err(); {
	case broken != nil:
		return t.failed(seeExit, "the tunnel ended at once: %w", broken)
	case ctx.Err() != nil: // the caller's end says nothing about the exit
		return t.failed(seeExit, "the attempt ended: %w", ctx.Err())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if what != "" && !e.proven.Load() {
		return w.maker.isNone(t, what)
	}
	e.doubted = false
	return nil
}
