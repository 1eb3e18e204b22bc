// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

const (
	fallbackLine = "no exit answers; new connections go to their targets without it"
	inUseLine    = "exit in use"
)

// TestPrefer: while no exit answers, connections take the plain way. That is said once. The
// exit is asked again by the Way itself, and used as soon as it answers.
func TestPrefer(t *testing.T) {
	p := newPKI(t)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{})
	w := newWay(t, p, n, nil)
	for range 3 {
		conn, err := w.dial(t)
		must(t, err)
		if tunnel.ExitOf(conn) != "" {
			t.Fatal("a connection goes through an exit that is not there")
		}
	}
	if note := w.Note(); !strings.Contains(note, "connection refused") || w.Unready() != nil {
		t.Errorf("the note is %q, and unready %v", note, w.Unready())
	}
	if got := testutil.ToFloat64(w.cfg.Metrics.fallback); got != 1 {
		t.Errorf("exit_fallback is %v, want 1", got)
	}
	e := startExit(t, p, nil)
	n.set(theExit, e.addr)
	waittest.Eventually(t, "the exit's return", func() bool { return w.Note() == "" })
	echo(t, w.through(t), "hello")
	if got := testutil.ToFloat64(w.cfg.Metrics.fallback); got != 0 {
		t.Errorf("exit_fallback is %v, want 0", got)
	}
	if lines := w.log.Lines(t, fallbackLine); len(lines) != 1 {
		t.Errorf("the log says %d times that no exit answers, want once: %v", len(lines), lines)
	}
	if lines := w.log.Lines(t, inUseLine); len(lines) != 1 {
		t.Errorf("the log says %d times that the exit is back, want once: %v", len(lines), lines)
	}
	if got := testutil.ToFloat64(w.cfg.Metrics.plain); got != 3 {
		t.Errorf("%v connections took the plain way, want 3", got)
	}
}

// TestDialsDoNotAskExits: however many dials there are, the exit is asked by the slots alone.
func TestDialsDoNotAskExits(t *testing.T) {
	p := newPKI(t)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{})
	w := newWay(t, p, n, func(cfg *Config) { cfg.times.firstPause, cfg.times.lastPause = time.Hour, time.Hour })
	waittest.Eventually(t, "the first attempt of each slot", func() bool {
		exits, _ := n.attempts()
		return exits == fewestSlots
	})
	for range 100 {
		if _, err := w.dial(t); err != nil {
			t.Fatal(err)
		}
	}
	if exits, plain := n.attempts(); exits != fewestSlots || plain != 100 {
		t.Errorf("%d dials of the exit and %d plain ones, want %d and 100", exits, plain, fewestSlots)
	}
}

// TestRequire: while no exit answers, dials fail with the cause. One that still waits
// succeeds when the exit is back.
func TestRequire(t *testing.T) {
	p := newPKI(t)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{})
	w := newWay(t, p, n, func(cfg *Config) { cfg.Exits.Required = true })
	w.unready(t, "connection refused")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.DialContext(ctx, target, nil)
	failed, ok := errors.AsType[*tunnel.Error](err)
	if !ok || failed.Reason != tunnel.ReasonExitUnreachable || !strings.Contains(failed.Error(), "connection refused") || failed.Next == "" {
		t.Errorf("got %v, want exit_unreachable and its cause", err)
	}
	waiting := make(chan error, 1)
	go func() {
		conn, err := w.dial(t)
		if err == nil {
			_ = conn.Close()
		}
		waiting <- err
	}()
	e := startExit(t, p, nil)
	n.set(theExit, e.addr)
	must(t, waittest.Await(t, waiting, "the dial that waits"))
	if w.Unready() != nil || w.Note() != "" {
		t.Errorf("unready %v, note %q", w.Unready(), w.Note())
	}
	if _, plain := n.attempts(); plain != 0 {
		t.Errorf("%d dials went without the exit", plain)
	}
}

// unready waits until w says with this text why it is not ready.
func (f *fixture) unready(t testing.TB, text string) {
	t.Helper()
	waittest.Eventually(t, "the cause", func() bool { return f.Unready() != nil && strings.Contains(f.Unready().Error(), text) })
}

// TestReasonsBeforeTheExit: if the cause lies before the exit, its reason stays.
func TestReasonsBeforeTheExit(t *testing.T) {
	p := newPKI(t)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{})
	n.fails = &tunnel.Error{Reason: tunnel.ReasonNoAgent, Server: "server", Fault: tunnel.FaultServer, Err: errors.New("No agent available")}
	w := newWay(t, p, n, func(cfg *Config) { cfg.Exits.Required = true })
	w.unready(t, "No agent available")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.DialContext(ctx, target, nil); tunnel.ReasonOf(err) != tunnel.ReasonNoAgent {
		t.Errorf("got %v, want the reason no_agent", err)
	}
}

// TestAnUnstableExitDoesNotOscillate: an exit that accepts tunnels and breaks each of them
// does not make connections change their way all the time.
func TestAnUnstableExitDoesNotOscillate(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, func(cfg *Config) { cfg.times.settle, cfg.times.lastSettle = time.Hour, time.Hour })
	var cuts atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				n.cut()
				cuts.Add(1)
			}
		}
	}()
	waittest.Eventually(t, "many tunnels", func() bool { return e.connections() > 20 })
	close(stop)
	<-done
	// Each slot tries accidents+1 tunnels at once. The next ones have to settle.
	if lines := w.log.Lines(t, inUseLine); len(lines) > fewestSlots*(accidents+1) {
		t.Errorf("after %d cuts the log says %d times that the exit is in use", cuts.Load(), len(lines))
	}
	if lines := w.log.Lines(t, fallbackLine); len(lines) > fewestSlots*(accidents+1) {
		t.Errorf("after %d cuts the log says %d times that no exit answers", cuts.Load(), len(lines))
	}
}

// TestARequiredExitThatBreaksTunnels: an exit that accepts tunnels and breaks each of them,
// for example at a limit, is asked less and less often.
func TestARequiredExitThatBreaksTunnels(t *testing.T) {
	p := newPKI(t)
	e := startExit(t, p, nil)
	n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr})
	w := newWay(t, p, n, func(cfg *Config) {
		cfg.Exits.Required, cfg.times.firstPause, cfg.times.lastPause = true, time.Millisecond, time.Hour
	})
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(time.Millisecond) {
		w.mu.Lock()
		stands := len(w.tunnels) > 0
		w.mu.Unlock()
		if stands {
			n.cut()
		}
	}
	// With doubled pauses, so many attempts take longer than any test.
	if attempts, _ := n.attempts(); attempts > fewestSlots*(accidents+1+20) {
		t.Errorf("%d attempts", attempts)
	}
}

// TestWrongExits: what is wrong with an exit is said, with what to do.
func TestWrongExits(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	good := startExit(t, p, nil)
	foreign := startExit(t, other, nil)
	unnamed := p.ca.Issue(t, x509.Certificate{}).TLS()
	nameless := startExit(t, p, func(e *exitServer) { e.TLSConfig.Certificates = []tls.Certificate{unnamed} })
	picky := startExit(t, p, func(e *exitServer) { e.TLSConfig.ClientCAs = other.clients })
	old := startExit(t, p, func(e *exitServer) { e.TLSConfig.MaxVersion, e.TLSConfig.MinVersion = 0x0303, 0x0303 })
	plain, ca, client := startPlain(t), p.file("ca.crt"), p.file("client.crt")
	web := startExit(t, p, func(e *exitServer) { e.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){} })
	for _, tt := range []struct {
		name, text, next string
		addr             netip.AddrPort
		server           string // to verify
	}{
		{"another name", "its certificate is not for --exit-server-name=other.example, but for exit.example", "in place of --exit-server-name=other.example", good.addr, "other.example"},
		{"no name", "its certificate is not for --exit-server-name=exit.example", "subjectAltName", nameless.addr, ""},
		{"another CA", "not signed by --exit-ca-cert=" + ca, "--exit-ca-cert=" + ca, foreign.addr, ""},
		{"another CA for clients", "refused the TLS connection", "--exit-client-cert=" + client, picky.addr, ""},
		{"an old version of TLS", "does not speak TLS 1.3", "--exit=" + string(theExit), old.addr, ""},
		{"no HTTP/2", "does not speak HTTP/2", "--exit=" + string(theExit), web.addr, ""},
		{"no TLS", "does not speak TLS", "--exit=" + string(theExit), plain, ""},
		{"nothing listens", "connection refused", "--exit=" + string(theExit), netip.AddrPort{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: tt.addr})
			w := newWay(t, p, n, func(cfg *Config) {
				cfg.Exits.Required = true
				if !tt.addr.IsValid() { // a person may start it at any time
					cfg.DialTimeout = 100 * time.Millisecond
				}
				if tt.server != "" {
					cfg.Exits.TLS.ServerName = tt.server
				}
			})
			_, err := w.dial(t)
			failed, ok := errors.AsType[*tunnel.Error](err)
			if !ok || failed.Reason != tunnel.ReasonExitUnreachable || !strings.Contains(failed.Error(), tt.text) || !strings.Contains(failed.Next, tt.next) {
				t.Errorf("got %v, next %q; want %q, next %q", err, failed.Next, tt.text, tt.next)
			}
		})
	}
}

// TestAnExpiredClientCertificate: an exit that says so is believed if it is true, and the
// clocks are named if it is not.
func TestAnExpiredClientCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		life       time.Duration // of the certificate, from now
		text, next string
	}{
		"it has expired":           {-time.Hour, "expired", "renew --exit-client-cert="},
		"the exit's clock is fast": {time.Hour, "by the clock here --exit-client-cert=", "clocks"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPKI(t)
			pair := p.ca.Issue(t, x509.Certificate{
				Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
				NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(tt.life),
			})
			must(t, os.WriteFile(p.file("client.key"), pair.KeyPEM(t), 0o600))
			must(t, os.WriteFile(p.file("client.crt"), pair.CertPEM(), 0o600))
			e := startExit(t, p, func(e *exitServer) {
				e.TLSConfig.Time = func() time.Time { return time.Now().Add(2 * time.Hour) }
			})
			w := newWay(t, p, newNetwork(map[tunnel.HostPort]netip.AddrPort{theExit: e.addr}), func(cfg *Config) { cfg.Exits.Required = true })
			_, err := w.dial(t)
			failed, ok := errors.AsType[*tunnel.Error](err)
			if !ok || !strings.Contains(failed.Error(), tt.text) || !strings.Contains(failed.Next, tt.next) {
				t.Errorf("got %v; want %q, next %q", err, tt.text, tt.next)
			}
		})
	}
}

// startPlain starts a server that speaks no TLS.
func startPlain(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}
