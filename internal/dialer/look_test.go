// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestIdentify: the mode that a server speaks is found out, also if it is not known before.
// A server that is none for dials is refused.
func TestIdentify(t *testing.T) {
	p := newPKI(t)
	var dials atomic.Int64
	grpcServer := p.serveGRPC(t, tunnel.ModeAuto, answerWith("", &dials))
	connectServer := p.serveConnect(t, tunnel.ModeAuto, write(establishedLine))
	for want, server := range map[tunnel.Mode]tunnel.Server{tunnel.ModeGRPC: grpcServer, tunnel.ModeHTTPConnect: connectServer} {
		got, err := newDialer(t, p.client(), hang, server).Identify(t.Context())
		if err != nil || got != want {
			t.Errorf("got mode %s and %v, want %s", got, err, want)
		}
	}
	connectServer.Mode = tunnel.ModeGRPC
	if got, err := newDialer(t, p.client(), hang, connectServer).Identify(t.Context()); err == nil || err.Reason != tunnel.ReasonProtocol {
		t.Errorf("the server does not speak gRPC; got mode %s and %v", got, err)
	}
	if dials.Load() != 0 {
		t.Errorf("%d dials were made to find that out", dials.Load())
	}
}

// TestDialOnce: a server without an agent is asked once, and not until a budget ends.
func TestDialOnce(t *testing.T) {
	p := newPKI(t)
	var dials atomic.Int64
	d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, answerWith("No agent available", &dials)))
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	conn, err := d.DialOnce(ctx, target)
	if conn != nil || err == nil || err.Reason != tunnel.ReasonNoAgent || dials.Load() != 1 {
		t.Errorf("after %d dials: %v, %v", dials.Load(), conn, err)
	}
}
