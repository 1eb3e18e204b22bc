// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// forgets is how long a device between sidecar and server remembers a connection without
// a packet. The server's own TCP keepalive comes every 15 s.
const forgets = 4 * time.Second

// TestKeepaliveOutlastsWhatForgetsIdleConnections: a device that forgets idle connections
// does not harm those whose keepalive comes more often.
func TestKeepaliveOutlastsWhatForgetsIdleConnections(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		_, conns := newForgetfulRig(t, mode, forgets/2)
		time.Sleep(3 * forgets) // the fault itself: nothing is awaited
		for i, conn := range conns {
			if err := exchange(conn, []byte("still there")); err != nil {
				t.Errorf("connection %d was idle for %s and ended with %v", i, 3*forgets, err)
			}
		}
	})
}

// TestWhatForgetsIdleConnectionsResetsThem: if keepalive comes too seldom, the connection
// is lost. The app sees a reset once it uses the connection. It never sees endless
// silence or a clean end.
func TestWhatForgetsIdleConnectionsResetsThem(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		r, conns := newForgetfulRig(t, mode, time.Hour)
		eventually(t, "the connections to be forgotten", func(ctx context.Context) error {
			known, err := r.Seed.Run(ctx, lab.Command{Path: "conntrack", Args: []string{"-L", "-p", "tcp", "--dport", fmt.Sprint(lab.FrontendPort), "--state", "ESTABLISHED"}})
			if err == nil && known.Stdout != "" {
				err = errors.New(known.Stdout)
			}
			return err
		})
		began := time.Now()
		for _, conn := range conns {
			if _, err := conn.Write([]byte("still there")); err != nil {
				t.Fatal(err)
			}
		}
		for i, conn := range conns {
			if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("connection %d was forgotten, and %d bytes came and %v, want a reset", i, n, err)
			}
		}
		t.Logf("the apps saw their resets after %s", time.Since(began).Round(time.Millisecond))
		log := r.wantLogged(t, map[string]int{`"reason":"tunnel_broken"`: len(conns), "has acknowledged nothing for 10s": 1})
		if n := strings.Count(log, `"reason":"tunnel_broken"`); n != len(conns) {
			t.Errorf("%d connections are logged as broken, want %d:\n%s", n, len(conns), log)
		}
		r.wantServes(t)
	})
}

// TestABalancerThatCutsQuietConnections: a balancer that ends TCP sees no keepalive
// probes. In grpc mode the server's pings keep the shared connection alive. In
// http-connect mode only the balancer's own timeouts can. A connection that the balancer
// cuts is reset.
func TestABalancerThatCutsQuietConnections(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		mode  lab.Mode
		flags []string // of the server
		lives bool
	}{
		{"grpc with pings", lab.GRPC, []string{"--frontend-keepalive-time=1s"}, true},
		{"grpc", lab.GRPC, nil, false},
		{"http-connect", lab.HTTPConnect, []string{"--frontend-keepalive-time=1s"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newBareRig(t, lab.Options{Mode: c.mode, ServerFlags: c.flags})
			balancer := r.Servers[0].NewClientBalancer(lab.HAProxyTCP)
			balancer.Quiet = forgets
			r.startBehind(t, balancer)
			conns := r.dialEchoes(t)
			if !c.lives {
				for i, conn := range conns {
					if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, syscall.ECONNRESET) {
						t.Errorf("connection %d was cut, and %d bytes came and %v, want a reset", i, n, err)
					}
				}
				return
			}
			time.Sleep(3 * forgets) // the fault itself: nothing is awaited
			for i, conn := range conns {
				if err := exchange(conn, []byte("still there")); err != nil {
					t.Errorf("connection %d was quiet for %s and ended with %v", i, 3*forgets, err)
				}
			}
		})
	}
}

// newForgetfulRig returns connections through a server behind a device that forgets idle
// connections.
func newForgetfulRig(t *testing.T, mode lab.Mode, keepalive time.Duration) (*rig, []net.Conn) {
	t.Helper()
	r := newBareRig(t, lab.Options{Mode: mode})
	r.apply(t)
	if _, err := r.ForgetIdle(labtest.Context(t, hang), forgets); err != nil {
		t.Fatal(err)
	}
	r.start(t, "--server-keepalive="+keepalive.String())
	return r, r.dialEchoes(t)
}

// dialEchoes returns some connections that work.
func (r *rig) dialEchoes(t *testing.T) (conns []net.Conn) {
	t.Helper()
	for i := range 3 {
		conn, err := r.dial(labtest.Context(t, 3*time.Minute), lab.ShootPod(lab.IPv4, 1+i), target.EchoPort)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if err := exchange(conn, []byte("first")); err != nil {
			t.Fatalf("connection %d does not work: %v", i, err)
		}
		conns = append(conns, conn)
	}
	return conns
}
