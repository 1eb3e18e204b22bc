// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// deadPeer is how long the product needs to notice a peer that has stopped answering. It
// notices by bytes without an acknowledgement, or by TCP keepalive if nothing was sent.
const deadPeer = 10 * time.Second

// eachMode runs a test of the fault matrix in both modes, side by side: they wait more
// than they work.
func eachMode(t *testing.T, test func(t *testing.T, mode lab.Mode)) {
	t.Helper()
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) { test(t, mode) })
	}
}

// TestAServerHangsBesideAnother: a server hangs: its kernel accepts, and the process does
// nothing. If another is left, that costs time but no connection. Connections through the
// server wait until it goes on.
func TestAServerHangsBesideAnother(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		opts := pair
		opts.Mode = mode
		r := newRig(t, opts)
		live := r.startLive(t, 20)
		hung := r.Servers[0]
		fresh := r.startFresh(t)
		fresh.await(t, 25)
		if err := hung.Freeze(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		fresh.await(t, 400)
		fresh.settle(t, began)
		if err := hung.Thaw(); err != nil {
			t.Fatal(err)
		}
		attempts := fresh.end(t)
		wantNoneFailed(t, attempts)
		logSlowest(t, attempts, began)
		r.wantCarries(t, hung)
		live.wantEnded(t, 0, began, nil)
	})
}

// TestTheOnlyServerHangs: the only server hangs. Dials end in a reset within their
// budget, and open connections wait. Everything works again when it goes on.
func TestTheOnlyServerHangs(t *testing.T) {
	const budget = 2 * time.Second
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+budget.String())
		live := r.startQuiet(t, 5)
		began := time.Now()
		if err := r.Server.Freeze(); err != nil {
			t.Fatal(err)
		}
		before := r.metrics(t)
		r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort, budget+slack)
		t.Logf("a dial took %s to fail: %v", time.Since(began).Round(time.Millisecond),
			increases("proxy_client_dial_failures_total", before, r.metrics(t)))
		if err := r.Server.Thaw(); err != nil {
			t.Fatal(err)
		}
		r.wantServes(t)
		live.wantEnded(t, 0, began, nil)
		live.finish()
		r.wantNoLeak(t)
	})
}

// TestAServerVanishesBesideAnother: a server's packets vanish, both ways. Open
// connections through it end in a reset once it is clear that it is gone. New ones use
// the other.
func TestAServerVanishesBesideAnother(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		opts := pair
		opts.Mode = mode
		r := newRig(t, opts)
		gone := r.Servers[0]
		live := r.startLive(t, 20)
		talking := r.established(t, gone)
		quiet := r.startQuiet(t, 20)
		silent := r.established(t, gone) - talking
		fresh := r.startFresh(t)
		fresh.await(t, 25)
		undo, err := gone.BlackHole(labtest.Context(t, hang))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		fresh.await(t, 400)
		attempts := fresh.end(t)
		// Connections that the server had just made end like the live ones.
		wantNoneFailed(t, slices.DeleteFunc(slices.Clone(attempts), func(a attempt) bool {
			return a.start.Before(began) && errors.Is(a.err, syscall.ECONNRESET)
		}))
		logSlowest(t, attempts, began)
		live.await(t, talking, 4*deadPeer)
		quiet.await(t, silent, 4*deadPeer)
		live.wantEnded(t, talking, began, syscall.ECONNRESET)
		quiet.wantEnded(t, silent, began, syscall.ECONNRESET)
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		r.wantCarries(t, gone)
	})
}

// TestTheOnlyServerVanishes: the only server vanishes and comes back. Open connections
// are reset, dials fail within their budget, and later ones work again.
func TestTheOnlyServerVanishes(t *testing.T) {
	const budget = 3 * time.Second
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r := newRig(t, lab.Options{Mode: mode}, "--dial-timeout="+budget.String())
		live := r.startLive(t, 10)
		quiet := r.startQuiet(t, 10)
		undo, err := r.Servers[0].BlackHole(labtest.Context(t, hang))
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort, budget+slack)
		t.Logf("a dial took %s to fail", time.Since(began).Round(time.Millisecond))
		live.await(t, 10, 4*deadPeer)
		quiet.await(t, 10, 4*deadPeer)
		live.wantEnded(t, 10, began, syscall.ECONNRESET)
		quiet.wantEnded(t, 10, began, syscall.ECONNRESET)
		// Keepalive finds the dead connections on which nothing was sent.
		log := r.wantLogged(t, map[string]int{"has acknowledged nothing for 10s": 10, `"reason":"tunnel_broken"`: 20})
		if n := strings.Count(log, `"reason":"tunnel_broken"`); n != 20 {
			t.Errorf("%d connections are logged as broken, want 20:\n%s", n, log)
		}
		if err := undo(); err != nil {
			t.Fatal(err)
		}
		r.wantServes(t)
	})
}

// TestAServerWithoutAnAgentBesideAnother: a server that no agent has found cannot dial,
// and the other server is asked next. No connection fails, and the detour costs almost no
// time.
func TestAServerWithoutAnAgentBesideAnother(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		opts := pair
		opts.Mode = mode
		r := newRig(t, opts)
		lonely := r.Servers[0]
		lonely.Kill()
		lonely.Agentless = true
		if err := lonely.Start(labtest.Context(t, hang)); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		fresh := r.startFresh(t)
		fresh.await(t, 150)
		attempts := fresh.end(t)
		wantNoneFailed(t, attempts)
		logSlowest(t, attempts, began)
		t.Logf("failovers: %v", r.metrics(t).Sum("proxy_client_failovers_total"))
	})
}

// TestANameWithADeadAddress: if one of a name's two addresses is dead, connections use
// the other.
func TestANameWithADeadAddress(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		for what, kill := range map[string]func(context.Context, *lab.Server) error{
			"refuses": func(_ context.Context, s *lab.Server) error { s.Kill(); return nil },
			"vanished": func(ctx context.Context, s *lab.Server) error {
				_, err := s.BlackHole(ctx)
				return err
			},
		} {
			t.Run(what, func(t *testing.T) {
				opts := pair
				opts.Mode = mode
				r := newBareRig(t, opts)
				r.apply(t)
				if err := kill(labtest.Context(t, hang), r.Servers[0]); err != nil {
					t.Fatal(err)
				}
				r.startNamed(t, r.Servers[0].Address(lab.IPv4), r.Servers[1].Address(lab.IPv4))
				began := time.Now()
				fresh := r.startFresh(t)
				fresh.await(t, 100)
				attempts := fresh.end(t)
				wantNoneFailed(t, attempts)
				logSlowest(t, attempts, began)
			})
		}
	})
}

// TestANameThatChanges: new connections follow a name that changes. Open ones stay.
func TestANameThatChanges(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		opts := pair
		opts.Mode = mode
		r := newBareRig(t, opts)
		r.apply(t)
		old, next := r.Servers[0], r.Servers[1]
		hosts := r.startNamed(t, old.Address(lab.IPv4))
		live := r.startLive(t, 5)
		if n := r.established(t, next); n != 0 {
			t.Fatalf("%d connections go through a server that the name does not know", n)
		}
		if err := hosts.Set(map[string][]netip.Addr{lab.ServerName: {next.Address(lab.IPv4)}}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.wantCarries(t, next)
		t.Logf("after %s a new connection went to the new address", time.Since(began).Round(100*time.Millisecond))
		before := r.established(t, old)
		r.startQuiet(t, 5)
		if n := r.established(t, old); n > before {
			t.Errorf("%d connections go through the old address, there were %d", n, before)
		}
		live.wantEnded(t, 0, began, nil)
	})
}

// startNamed starts the sidecar with a name whose addresses can be changed.
func (r *rig) startNamed(t *testing.T, addrs ...netip.Addr) *lab.Hosts {
	t.Helper()
	hosts, err := r.NewHosts(map[string][]netip.Addr{lab.ServerName: addrs})
	if err != nil {
		t.Fatal(err)
	}
	command := r.ProxyClientCommand(fmt.Sprintf("--proxy-server=%s:%d", lab.ServerName, lab.FrontendPort))
	command.Hosts = hosts
	r.sidecar, err = r.StartSidecar(labtest.Context(t, hang), command)
	if err != nil {
		t.Fatal(err)
	}
	return hosts
}

// wantServes waits until a connection works.
func (r *rig) wantServes(t *testing.T) {
	t.Helper()
	began := time.Now()
	eventually(t, "connections to work again", func(ctx context.Context) error {
		conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort)
		if err != nil {
			return err
		}
		defer conn.Close()
		got, err := io.ReadAll(conn)
		if err == nil && string(got) != target.Banner {
			err = fmt.Errorf("got %q, and a clean end", got)
		}
		return err
	})
	t.Logf("a connection worked again %s after the fault was over", time.Since(began).Round(time.Millisecond))
}

// wantNoneFailed expects that every new connection worked, however long it took.
func wantNoneFailed(t *testing.T, attempts []attempt) {
	t.Helper()
	for _, a := range attempts {
		if !a.whole() {
			t.Errorf("a new connection got %d of %d bytes and ended with %s after %s", a.got, len(target.Banner), reasonOf(a.err), a.took)
		}
	}
}

// wantNoLeak waits until nothing is left of any connection, in the sidecar, a server, an
// agent or a target. It makes connections now and then, which bring the servers' gauges
// up to date.
func (r *rig) wantNoLeak(t *testing.T) {
	t.Helper()
	eventually(t, "everything to be free of connections", func(ctx context.Context) error {
		if conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort); err == nil {
			_, _ = io.ReadAll(conn)
			_ = conn.Close()
		}
		var errs []error
		for _, s := range r.Servers {
			if s.Running() {
				errs = append(errs, wantZero(ctx, s.Name, s.Metrics, lab.ServerEstablished, lab.ServerPending))
			}
		}
		for _, a := range r.Agents {
			if a.Running() {
				errs = append(errs, wantZero(ctx, a.Name, a.Metrics, lab.AgentEndpoints))
			}
		}
		errs = append(errs, wantZero(ctx, "the sidecar", r.SidecarMetrics, "proxy_client_connections_active"))
		if n := r.targets.Open(); n != 0 {
			errs = append(errs, fmt.Errorf("the targets hold %d connections", n))
		}
		return errors.Join(errs...)
	})
}

func wantZero(ctx context.Context, who string, read func(context.Context) (lab.Metrics, error), gauges ...string) error {
	m, err := read(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, gauge := range gauges {
		if n := m.Sum(gauge); n != 0 {
			errs = append(errs, fmt.Errorf("%s: %s is %v", who, gauge, n))
		}
	}
	return errors.Join(errs...)
}
