// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// TestMaxConnectionsExceeded: beyond --max-connections a new connection is reset at once.
// If one ends, the next works.
func TestMaxConnectionsExceeded(t *testing.T) {
	const limit = 5
	r := newRig(t, lab.Options{}, fmt.Sprint("--max-connections=", limit))
	open := r.startQuiet(t, limit)
	before := r.metrics(t)
	r.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.SpeakFirstPort, hang)
	r.wantCounted(t, "proxy_client_dial_failures_total", before, "max_connections")
	if err := open.conns[0].conn.Close(); err != nil {
		t.Fatal(err)
	}
	r.wantServes(t)
	open.conns = open.conns[1:]
	open.wantEnded(t, 0, time.Now(), nil)
}

// TestIdleTimeout: with --idle-timeout a connection on which nothing moves is reset. One
// that works is not.
func TestIdleTimeout(t *testing.T) {
	t.Parallel()
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, lab.Options{Mode: mode}, "--idle-timeout=2s")
			before := r.metrics(t)
			live := r.startLive(t, 3)
			quiet := r.startQuiet(t, 1)
			began := time.Now()
			quiet.await(t, 1, hang)
			quiet.wantEnded(t, 1, began, syscall.ECONNRESET)
			r.wantCounted(t, "proxy_client_close_total", before, "idle")
			live.wantEnded(t, 0, began, nil)
		})
	}
}

// TestDrainUnderLoad: a sidecar with many connections gets SIGTERM. It lets those finish
// that do so in time and resets the others. It takes no new ones, and exits with 0.
func TestDrainUnderLoad(t *testing.T) {
	const finishing, staying = 100, 50
	for _, mode := range []lab.Mode{lab.GRPC, lab.HTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			r := newRig(t, lab.Options{Mode: mode}, "--drain-timeout=5s")
			ctx := labtest.Context(t, time.Minute)
			quiet := r.startQuiet(t, staying)
			live := r.startLive(t, finishing)
			r.terminate(t)
			if conn, err := r.dial(ctx, lab.ShootPod(lab.IPv4, 1), target.EchoPort); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("a draining sidecar took a connection: %v, %v, want it refused", conn, err)
			}
			// These connections have exchanged bytes since, and finish in their own
			// order.
			live.wantEnded(t, 0, time.Now(), nil)
			live.finish()
			eventually(t, "the finished connections to be gone", func(ctx context.Context) error {
				m, err := r.SidecarMetrics(ctx)
				if n := m["proxy_client_connections_active"]; err == nil && n > staying {
					err = fmt.Errorf("%v are left", n)
				}
				return err
			})
			began := time.Now()
			quiet.await(t, staying, hang)
			quiet.wantEnded(t, staying, began, syscall.ECONNRESET)
			if code, err := r.sidecar.Wait(labtest.Context(t, hang)); err != nil || code != 0 {
				t.Errorf("the drained sidecar exited with %d, %v, want 0", code, err)
			}
		})
	}
}
