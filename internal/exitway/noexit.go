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

// probeTarget is dialled on a new tunnel to an exit that has turned out to be none. An exit
// that is one by then dials it on its own loopback device, where nothing listens on port 1
// (tcpmux, RFC 1078), or forbids it.
const probeTarget = "127.0.0.1:1"

// judge notes what the end of a dial on t says about its exit. err is nil after a success.
// judge reports whether the exit is none: a web server, which answers CONNECT with a status
// such as 404.
//
// A proxy may also answer in this way, for a target that it does not serve, and is then not
// gone around. So an exit that has answered as a proxy once counts as one for ever.
func (w *Way) judge(t *exitTunnel, err *tunnel.Error) (none bool) {
	e := w.exitOf(t)
	switch {
	case showsProxy(err):
		e.proven.Store(true)
	case !e.proven.Load():
		if what := noProxys(err); what != "" {
			w.disprove(e, w.isNone(t, what))
			return true
		}
	}
	return false
}

// showsProxy reports whether only a proxy ends a dial in this way.
func showsProxy(err *tunnel.Error) bool {
	if err == nil {
		return true
	}
	refusal, ok := errors.AsType[*h2connect.Refusal](err)
	return ok && (refusal.ProxyError != "" || refusal.Status == http.StatusForbidden)
}

// noProxys returns the answer of a dial in words if it says that CONNECT is not accepted, and
// "" otherwise.
func noProxys(err *tunnel.Error) string {
	if err == nil || err.Reason != tunnel.ReasonProtocol {
		return ""
	}
	refusal, refused := errors.AsType[*h2connect.Refusal](err)
	reset, wasReset := errors.AsType[*h2connect.Reset](err)
	switch {
	case refused && refusal.ProxyError == "":
		return fmt.Sprintf("status %d", refusal.Status)
	case wasReset:
		return reset.Code.String()
	default:
		return ""
	}
}

// isNone returns the error of a tunnel to a server that is no exit.
func (w *Way) isNone(t *exitTunnel, what string) *tunnel.Error {
	return t.misfits(w.maker.notAnExit(t.target), "it answers CONNECT with %s, as no proxy does", what)
}

// disprove takes all tunnels to e out of use, because it is no exit.
func (w *Way) disprove(e *exit, err *tunnel.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	if carrier, err := t.session.DialEarly(ctx, probeTarget, nil); err == nil {
		_ = carrier.Close()
	} else if what := noProxys(t.dialError(ctx, err)); what != "" {
		return w.isNone(t, what)
	} else if broken := t.session.Err(); broken != nil {
		return t.failed(seeExit, "the tunnel ended at once: %w", broken)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.doubted = false
	return nil
}
