// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
)

// newExitRig builds a lab with an exit in the shoot, and starts a sidecar that carries
// nothing without it.
func newExitRig(t testing.TB, opts lab.Options, flags ...string) *rig {
	t.Helper()
	r := newBareExitRig(t, opts)
	r.apply(t)
	r.start(t, r.ExitFlags(flags...)...)
	return r
}

// newBareExitRig does the same without init-redirect and sidecar.
func newBareExitRig(t testing.TB, opts lab.Options) *rig {
	t.Helper()
	labtest.RequireRoot(t)
	if err := opts.CheckExit(); err != nil {
		t.Fatal(err)
	}
	opts.Exits = max(opts.Exits, 1)
	return newBareRig(t, opts)
}

// wantNoStreams waits until no app's connection is left in the sidecar or at a target. The
// tunnels to the exits stay.
func (r *rig) wantNoStreams(t testing.TB) {
	t.Helper()
	eventually(t, "all connections of apps to end", func(ctx context.Context) error {
		m, err := r.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		if active, open := m["proxy_client_connections_active"], r.targets.Open(); active != 0 || open != 0 {
			return fmt.Errorf("%v in the sidecar, %d at the targets", active, open)
		}
		return nil
	})
}

// mostTunnels is at least what a sidecar has open to one exit through one server.
const mostTunnels = 8

// wantStreams expects that this many connections of apps are streams to the exit, and that
// the server knows of a few tunnels only.
func (r *rig) wantStreams(t testing.TB, open int) {
	t.Helper()
	ctx := labtest.Context(t, hang)
	server, err := r.ServerMetrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	exit, err := r.Exits[0].Metrics(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tunnels, streams := server.Sum(lab.ServerEstablished), exit[lab.ExitStreams]
	if open <= mostTunnels || streams != float64(open) || tunnels == 0 || tunnels > mostTunnels {
		t.Errorf("apps have %d connections: the exit has %v streams, and the server %v connections", open, streams, tunnels)
	}
}
