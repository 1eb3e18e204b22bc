// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"

	"github.com/shoot-proxy/proxy-client/internal/httpsproxy"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Identify connects to the first address of the first server, and returns the mode that
// the server speaks. It returns an error if the server cannot be reached, or is not one
// for dials. It is for a program that looks at one address at a time.
func (d *Dialer) Identify(ctx context.Context) (tunnel.Mode, *tunnel.Error) {
	if err := d.awaitEndpoint(ctx); err != nil {
		return "", err
	}
	e := d.servers[0].known()[0]
	if err := e.Check(ctx); err != nil {
		return "", err
	}
	return e.mode(), nil
}

// Software returns the name that a standard proxy has given itself, or "". It is for a caller
// for which Identify has succeeded.
func (d *Dialer) Software() string {
	return d.servers[0].known()[0].protocols[tunnel.ModeHTTPSProxy].(*httpsproxy.Dialer).Software()
}

// BetterMode returns the mode that fits the server better than the configured one, or "". It
// is for a caller for which Identify has succeeded.
func (d *Dialer) BetterMode() tunnel.Mode {
	if d.servers[0].advised.Load() {
		return tunnel.ModeHTTPSProxy
	}
	return ""
}

// DialOnce dials dst as DialContext does, but it asks each address only once. The time
// limit is that of ctx.
func (d *Dialer) DialOnce(ctx context.Context, dst tunnel.Target) (tunnel.Conn, *tunnel.Error) {
	conn, err, _ := d.dialOnce(ctx, dst, nil)
	return conn, err
}

// Protocols returns the ALPN protocols that a server is offered in a mode, the best
// first.
func Protocols(mode tunnel.Mode) []string {
	switch mode {
	case tunnel.ModeGRPC, tunnel.ModeH2Connect:
		return []string{serverconn.ALPNHTTP2}
	case tunnel.ModeHTTPConnect, tunnel.ModeHTTPSProxy:
		return []string{serverconn.ALPNHTTP1}
	default:
		return []string{serverconn.ALPNHTTP2, serverconn.ALPNHTTP1}
	}
}
