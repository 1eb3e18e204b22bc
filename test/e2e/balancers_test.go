// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// shortConnections is more than nginx lets one connection carry before it sends GOAWAY
// (keepalive_requests). It is also far more than HAProxy allows at once.
const shortConnections = 1200

// TestBalancers: Debian's HAProxy and nginx in front of the real server change nothing
// for the apps. The bytes are the same, and so is how a connection ends.
func TestBalancers(t *testing.T) {
	for _, c := range []struct {
		mode lab.Mode
		kind lab.BalancerKind
		// blurs is true if a server's sudden end reaches the sidecar as a clean one: see
		// TestLimitAServerKilledBehindABalancerThatEndsTLS.
		blurs bool
	}{
		{mode: lab.GRPC, kind: lab.HAProxyTCP},
		{mode: lab.GRPC, kind: lab.HAProxyTLS},
		{mode: lab.GRPC, kind: lab.HAProxyGRPC},
		{mode: lab.GRPC, kind: lab.NginxTCP},
		{mode: lab.GRPC, kind: lab.NginxGRPC},
		{mode: lab.HTTPConnect, kind: lab.HAProxyTCP},
		{mode: lab.HTTPConnect, kind: lab.HAProxyTLS, blurs: true},
		{mode: lab.HTTPConnect, kind: lab.NginxTCP},
		{mode: lab.HTTPConnect, kind: lab.NginxTLS, blurs: true},
	} {
		t.Run(fmt.Sprintf("%s behind %s", c.mode, c.kind), func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: c.mode})
			balancer := r.Servers[0].NewClientBalancer(c.kind)
			r.startBehind(t, balancer)
			r.testKinds(t)
			r.testHalfClose(t)
			r.transferBothWays(t, "behind the balancer", scale(32<<20))
			r.testShortConnections(t)
			r.idle(t)
			if c.kind == lab.NginxGRPC {
				wantGoodbyes(t, balancer)
			}
			r.wantUnsupportedHalfClose(t)
			if !c.blurs {
				r.wantResetWithTheServer(t)
			}
			r.wantNoLeak(t)
		})
	}
}

// startBehind starts a balancer and a sidecar. The sidecar knows its server only by the
// balancer's address. It finds out the mode itself (auto).
func (r *rig) startBehind(t *testing.T, balancer *lab.ClientBalancer) {
	t.Helper()
	if err := balancer.Start(labtest.Context(t, hang)); err != nil {
		t.Fatal(err)
	}
	r.apply(t)
	r.start(t, "--proxy-server="+balancer.Address(), "--half-close-timeout=5s")
}

// testShortConnections makes many connections that each end at once. None of them may
// fail. On every other one the target sends first and closes.
func (r *rig) testShortConnections(t *testing.T) {
	t.Helper()
	before := r.metrics(t)
	r.each(t, shortConnections, 32, func(ctx context.Context, i int) error {
		addr := lab.ShootPod(lab.DualStack.Each()[i/2%2], 1+i%lab.PodAddresses)
		port := []int{target.EchoPort, target.SpeakFirstPort}[i%2]
		conn, err := r.dial(ctx, addr, port)
		if err != nil {
			return err
		}
		defer conn.Close()
		if port == target.EchoPort {
			return hello(conn)
		}
		got, err := io.ReadAll(conn)
		if err != nil || string(got) != target.Banner {
			return fmt.Errorf("got %q and %v, want the whole banner and a clean end", got, err)
		}
		return nil
	})
	if failed := increases("proxy_client_dial_failures_total", before, r.metrics(t)); len(failed) != 0 {
		t.Errorf("dials failed: %v", failed)
	}
}

// wantGoodbyes proves that nginx has ended a connection with GOAWAY because of its number
// of requests. The requests after it went over another connection.
func wantGoodbyes(t *testing.T, balancer *lab.ClientBalancer) {
	t.Helper()
	const most = 1000 // keepalive_requests
	requests, err := balancer.Requests()
	if err != nil {
		t.Fatal(err)
	}
	if counts := slices.Collect(maps.Values(requests)); len(counts) < 2 || slices.Max(counts) != most {
		t.Errorf("connections to nginx carried %v requests, want one that carried %d, and others", counts, most)
	}
}

// wantResetWithTheServer kills the server during a download and starts it again. The
// download must end in a reset.
func (r *rig) wantResetWithTheServer(t *testing.T) {
	t.Helper()
	before := r.metrics(t)
	x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
	r.Server.Kill()
	if err := x.finish(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server died and the download ended with error %v, want a reset", err)
	}
	r.wantCounted(t, "proxy_client_close_total", before, "tunnel_broken")
	r.restartServer(t)
}

func (r *rig) restartServer(t *testing.T) {
	t.Helper()
	ctx := labtest.Context(t, time.Minute)
	if err := r.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitTunnel(ctx); err != nil {
		t.Fatal(err)
	}
	r.wantServes(t)
}

// TestAServerThatAllowsFewStreams: a server that allows few streams on a connection gets
// more connections. Dials come in bursts, the first of which is on a new connection. No
// dial fails, and none has to go to the other server. That server has its half of the
// dials.
func TestAServerThatAllowsFewStreams(t *testing.T) {
	const bursts = 3
	// If the limit is 1, each dial needs a TLS handshake.
	for most, dials := range map[int]int{1: 50, 10: 200} {
		t.Run(fmt.Sprintf("%d at once", most), func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: lab.GRPC, Servers: 2})
			balancer := r.Servers[1].NewClientBalancer(lab.HAProxyGRPC)
			balancer.MaxStreams = most
			if err := balancer.Start(labtest.Context(t, hang)); err != nil {
				t.Fatal(err)
			}
			r.apply(t)
			r.start(t, "--proxy-server="+r.Servers[0].Frontend()+","+balancer.Address())
			r.wantUp(t, 2)
			before := r.metrics(t)
			for range bursts {
				r.each(t, dials, dials, func(ctx context.Context, i int) error {
					conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1+i%lab.PodAddresses), target.EchoPort)
					if err != nil {
						return err
					}
					defer conn.Close()
					return hello(conn)
				})
			}
			after := r.metrics(t)
			if failed := increases("proxy_client_dial_failures_total", before, after); len(failed) != 0 {
				t.Errorf("dials failed: %v", failed)
			}
			if tried := increases("proxy_client_failovers_total", before, after); len(tried) != 0 {
				t.Errorf("dials went on to the other server, though this one was only full: %v", tried)
			}
			r.wantUp(t, 2)
			r.wantNoLeak(t)
			share := strings.Count(r.log(t), fmt.Sprintf(`"server":%q,"dial_id"`, balancer.Address()))
			if all := bursts * dials; share < all/10 {
				t.Errorf("%d of %d connections went by the server that allows few streams, want about half", share, all)
			}
		})
	}
}

// wantUp waits until the sidecar reaches this many servers.
func (r *rig) wantUp(t *testing.T, want float64) {
	t.Helper()
	eventually(t, "servers to be reached", func(ctx context.Context) error {
		m, err := r.SidecarMetrics(ctx)
		if up := m.Sum("proxy_client_server_up"); err == nil && up != want {
			err = fmt.Errorf("server_up is %v, want %v", up, want)
		}
		return err
	})
}

// TestLimitAServerKilledBehindABalancerThatEndsTLS: in http-connect mode only TLS's own
// end marks that a connection ended in order. A balancer that ends TLS sends that end
// itself if the server is killed. The app then sees a clean end. In grpc mode the end
// belongs to a stream, and no balancer makes one up: see TestBalancers.
func TestLimitAServerKilledBehindABalancerThatEndsTLS(t *testing.T) {
	for _, kind := range []lab.BalancerKind{lab.HAProxyTLS, lab.NginxTLS} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: lab.HTTPConnect})
			r.startBehind(t, r.Servers[0].NewClientBalancer(kind))
			before := r.metrics(t)
			x := r.startRaw(t, lab.ShootPod(lab.IPv4, 1))
			r.Server.Kill()
			if err := x.finish(); err != nil {
				t.Errorf("the server died and the download ended with error %v, want the balancer's clean end", err)
			}
			r.wantCounted(t, "proxy_client_close_total", before, "target_closed")
			r.restartServer(t)
		})
	}
}
