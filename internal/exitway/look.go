// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math"
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Tunnel is one tunnel to one exit, for a program that looks at exits one at a time.
type Tunnel struct {
	made       *exitTunnel
	background sync.WaitGroup
}

// Open opens a tunnel to one of exits by way of outer, and asks whether it is an exit that has
// answered. An error says what a person can do.
func Open(ctx context.Context, exits tunnel.Exits, target tunnel.HostPort, names tunnel.SettingNames, outer Outer) (*Tunnel, *tunnel.Error) {
	t := &Tunnel{}
	nothing := func(*exitTunnel) {}
	m := &maker{
		names: names, tls: exits.TLS, outer: outer, background: &t.background, room: func() {},
		files: newFiles(&Config{Exits: exits, Names: names, Logger: slog.New(slog.DiscardHandler)}),
	}
	var err *tunnel.Error
	t.made, err = m.open(ctx, target, nothing, nothing)
	if err != nil {
		t.background.Wait()
		return nil, err
	}
	if answer := noProxys(t.made.probe(ctx)); answer != "" {
		err = m.isNone(t.made, answer)
		_ = t.Close()
		return nil, err
	}
	return t, nil
}

// Certificates returns the chain that the exit has shown.
func (t *Tunnel) Certificates() []*x509.Certificate { return t.made.certificates }

// Limit returns how many connections the exit allows on a tunnel, or 0 if there is no limit.
func (t *Tunnel) Limit() int { return t.made.limit() }

// DialOnce dials dst through the exit. The time limit is that of ctx.
func (t *Tunnel) DialOnce(ctx context.Context, dst tunnel.Target) (tunnel.Conn, *tunnel.Error) {
	carrier, err := t.made.session.DialEarly(ctx, dst.String(), nil)
	if err != nil {
		return nil, t.made.dialError(ctx, err)
	}
	return carrier, nil
}

// Close ends the tunnel and its connections.
func (t *Tunnel) Close() error {
	err := t.made.session.Close()
	t.background.Wait()
	return err
}

// limit returns how many streams the exit allows, or 0 if there is no limit.
func (t *exitTunnel) limit() int {
	if limit := t.session.Limit(); limit < math.MaxInt32 {
		return limit
	}
	return 0
}
