// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// startWeb starts a web server that answers CONNECT with status, and is an exit once status is
// 0.
func startWeb(t *testing.T, p *pki, status *atomic.Int64) *exitServer {
	t.Helper()
	return startExit(t, p, func(e *exitServer) {
		e.refuse = func(w http.ResponseWriter, _ string) bool {
			is := status.Load()
			if is != 0 {
				w.WriteHeader(int(is))
			}
			return is != 0
		}
	})
}

// askedFor returns how often targets other than the probe's were dialled.
func (e *exitServer) askedFor() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(e.asked), func(at string) bool { return at == probeTarget }))
}

// TestAWebServerIsNoExit: connections go without it, which is said once. The slots alone ask
// it. It is used once it is an exit.
func TestAWebServerIsNoExit(t *testing.T) {
	for _, code := range []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		t.Run(http.StatusText(code), func(t *testing.T) {
			t.Parallel()
			var status atomic.Int64
			status.Store(int64(code))
			p := newPKI(t)
			e := startWeb(t, p, &status)
			n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
			w := newWay(t, p, n, nil)
			w.filled(t)
			h := &hello{}
			if _, err := w.DialEarly(t.Context(), target, nil, h); err != nil || h.sent != 0 {
				t.Fatalf("the first dial: %v, and %d bytes count as sent", err, h.sent)
			}
			before := e.connections()
			waittest.Eventually(t, "more attempts", func() bool { return e.connections() > before+5*fewestSlots })
			for range 20 {
				conn, err := w.dial(t)
				must(t, err)
				if tunnel.ExitOf(conn) != "" {
					t.Fatal("a connection goes through a web server")
				}
			}
			if asked := e.askedFor(); asked != 1 {
				t.Errorf("the web server was asked for %d targets, want one", asked)
			}
			if note := w.Note(); !strings.Contains(note, "as web servers do") || testutil.ToFloat64(w.cfg.Metrics.fallback) != 1 {
				t.Errorf("the note is %q, and exit_fallback %v", note, testutil.ToFloat64(w.cfg.Metrics.fallback))
			}
			if said, used := w.log.Lines(t, fallbackLine), w.log.Lines(t, inUseLine); len(said) != 1 || len(used) != 1 || !strings.Contains(said[0]["next"].(string), "--exit="+string(theExit)) {
				t.Errorf("the log says %d times that no exit answers, and %d times that one is in use: %v, %v", len(said), len(used), said, used)
			}
			status.Store(0)
			waittest.Eventually(t, "the exit", func() bool { return w.Note() == "" })
			c := w.through(t)
			defer c.Close()
			echo(t, c, "hello")
			if said, used := w.log.Lines(t, fallbackLine), w.log.Lines(t, inUseLine); len(said) != 1 || len(used) != 2 {
				t.Errorf("then the log says %d times that no exit answers, and %d times that one is in use", len(said), len(used))
			}
		})
	}
}

// TestAWebServerIsNoRequiredExit: dials fail at once with the cause, which is also why the
// sidecar is not ready.
func TestAWebServerIsNoRequiredExit(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusMethodNotAllowed)
	p := newPKI(t)
	e := startWeb(t, p, &status)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, func(cfg *Config) { cfg.Exits.Required = true })
	w.filled(t)
	for range 3 {
		_, err := w.dial(t)
		failed, ok := errors.AsType[*tunnel.Error](err)
		if !ok || failed.Reason != tunnel.ReasonExitUnreachable || !strings.Contains(failed.Error(), "status 405") || !strings.Contains(failed.Next, "--exit=") {
			t.Errorf("got %v, want exit_unreachable and its cause", err)
		}
	}
	w.unready(t, "status 405")
	status.Store(0)
	waittest.Eventually(t, "the exit", func() bool { return w.Unready() == nil })
	echo(t, w.through(t), "hello")
	if _, plain := n.attempts(); plain != 0 {
		t.Errorf("%d dials went without the exit", plain)
	}
}

// TestAnExitIsNotDoubted: an exit that has answered as only a proxy does may refuse a target as
// a web server would. The target is not dialled without it.
func TestAnExitIsNotDoubted(t *testing.T) {
	says := func(status int, proxyStatus string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			if proxyStatus != "" {
				w.Header().Set("Proxy-Status", proxyStatus)
			}
			w.WriteHeader(status)
		}
	}
	for name, answers := range map[string][]func(http.ResponseWriter){
		"after a connection":              {nil, says(http.StatusNotFound, "")},
		"after a target that it forbids":  {says(http.StatusForbidden, "exit; error=destination_ip_prohibited"), says(http.StatusNotFound, "")},
		"after one that it cannot reach":  {says(http.StatusBadGateway, "exit; error=connection_refused"), says(http.StatusMethodNotAllowed, "")},
		"a target that it forbids, first": {says(http.StatusForbidden, "")},
		"with Proxy-Status, first":        {says(http.StatusNotFound, "exit; error=a_new_one")},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			p := newPKI(t)
			e := startExit(t, p, func(e *exitServer) {
				e.refuse = func(w http.ResponseWriter, _ string) bool {
					answer := answers[asked.Add(1)-1]
					if answer != nil {
						answer(w)
					}
					return answer != nil
				}
			})
			n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
			w := newWay(t, p, n, nil)
			w.filled(t)
			for i, answer := range answers {
				conn, err := w.dial(t)
				if err == nil {
					_ = conn.Close()
				}
				if (err == nil) != (answer == nil) {
					t.Errorf("dial %d ended with %v", i, err)
				}
			}
			if _, plain := n.attempts(); plain != 0 || w.Note() != "" {
				t.Errorf("%d dials went without the exit; note %q", plain, w.Note())
			}
		})
	}
}

// TestAWebServerBesideAnExit: connections go through the exit, and none without.
func TestAWebServerBesideAnExit(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusNotFound)
	p := newPKI(t)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{otherExit: startWeb(t, p, &status).addr, theExit: startExit(t, p, nil).addr})
	w := newWay(t, p, n, func(cfg *Config) { cfg.Exits.Targets = []tunnel.HostPort{otherExit, theExit} })
	w.filled(t)
	for range 20 {
		c := w.through(t)
		defer c.Close()
	}
	if _, plain := n.attempts(); plain != 0 {
		t.Errorf("%d dials went without the exit", plain)
	}
	if lines := w.log.Lines(t, fallbackLine); len(lines) != 0 {
		t.Errorf("the log says that no exit answers: %v", lines)
	}
}

// TestAProxyThatDoesNotServeATarget: a proxy may refuse a target with a bare 404, also the
// first one. The target is not dialled without it, and others go through it.
func TestAProxyThatDoesNotServeATarget(t *testing.T) {
	for name, probed := range map[string]int{"forbids the probe": http.StatusForbidden, "connects the probe": 0, "does not reach the probe": http.StatusBadGateway} {
		t.Run(name, func(t *testing.T) {
			served := target.String()
			p := newPKI(t)
			e := startExit(t, p, func(e *exitServer) {
				e.refuse = func(w http.ResponseWriter, at string) bool {
					is := map[string]int{served: 0, probeTarget: probed}
					status, known := is[at]
					if !known {
						status = http.StatusNotFound
					}
					if status != 0 {
						w.WriteHeader(status)
					}
					return status != 0
				}
			})
			n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
			w := newWay(t, p, n, nil)
			w.filled(t)
			for range 2 {
				if _, err := w.DialContext(t.Context(), netip.MustParseAddrPort("10.0.0.99:99"), nil); err == nil {
					t.Fatal("a target that the proxy does not serve was reached")
				}
				c := w.through(t)
				defer c.Close()
			}
			if _, plain := n.attempts(); plain != 0 || w.Note() != "" {
				t.Errorf("%d dials went without the exit; note %q", plain, w.Note())
			}
		})
	}
}

// TestADoubtThatIsLate: a connection that succeeds while its exit is doubted ends the doubt.
func TestADoubtThatIsLate(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusNotFound)
	p := newPKI(t)
	e := startWeb(t, p, &status)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, nil)
	w.filled(t)
	first := w.slots[0].current
	conn, err := w.dial(t) // now it is doubted, and goes on being so
	must(t, err)
	_ = conn.Close()
	if w.Note() == "" {
		t.Fatal("the web server is not doubted")
	}
	w.judge(t.Context(), first, nil) // of a dial that was under way
	waittest.Eventually(t, "the exit", func() bool { return w.Note() == "" })
	if w.judge(t.Context(), first, first.dialError(t.Context(), &h2connect.Refusal{Status: http.StatusNotFound})) {
		t.Error("an exit that has shown that it is one is doubted again")
	}
}

// TestACancelledProbe: it says nothing about the server, which stays doubted.
func TestACancelledProbe(t *testing.T) {
	var status atomic.Int64
	status.Store(http.StatusNotFound)
	p := newPKI(t)
	e := startWeb(t, p, &status)
	w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), func(cfg *Config) { cfg.Exits.Required = true })
	w.filled(t)
	is := w.exits[0]
	w.mu.Lock()
	tun := w.slots[0].current
	is.doubted = true
	w.mu.Unlock()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.identify(ended, is, tun); err == nil {
		t.Error("a probe that was cancelled counts as an answer")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !is.doubted {
		t.Error("it ends the doubt")
	}
}
