// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	agentsPort = 8091 // upstream's default for the agents
	// ServersPort is the clause of an error that names the usual port.
	ServersPort = "the servers' is usually 8090"
)

// Endpoint is one address of a server, or its Unix socket.
type Endpoint struct {
	Server tunnel.Server
	Addr   netip.AddrPort // zero for a Unix socket

	connector         *Connector
	resumptionsFailed atomic.Int32 // handshakes that failed without an alert, where full ones did not
	noResumption      atomic.Bool  // the server hands out sessions, and does not resume them
}

// Address returns the address or path, for people and for net.Dial.
func (e *Endpoint) Address() string {
	if !e.Addr.IsValid() {
		return e.Server.Address
	}
	return e.Addr.String()
}

// Names returns the names of settings, for errors.
func (e *Endpoint) Names() tunnel.SettingNames { return e.connector.names }

// tls returns the TLS settings.
func (e *Endpoint) tls() tunnel.TLS { return e.connector.files.Settings() }

// setting returns a setting as a person gives it, with its value if there is one.
func setting(name, value string) string {
	if value == "" {
		return name
	}
	return name + "=" + clip.Text(value, clip.Words)
}

// Unreachable returns the error of a server to which there is no connection, after ctx
// or err has ended the wait for one.
func (c *Connector) Unreachable(ctx context.Context, server tunnel.Server, err error) *tunnel.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &tunnel.Error{Reason: tunnel.ReasonCancelled, Server: server.Name, Err: err}
	}
	if short := c.Shortage(server, err); short != nil {
		return short
	}
	return &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: server.Name, Err: err, Fault: tunnel.FaultUnreachable}
}

// Unreachable returns the error of an endpoint to which there is no connection, after
// ctx or err has ended the wait for one.
func (e *Endpoint) Unreachable(ctx context.Context, err error) *tunnel.Error {
	return e.connector.Unreachable(ctx, e.Server, err)
}

// WrongServer returns the error of a server that is not the one that is meant, which
// only a person can change.
func (e *Endpoint) WrongServer(err error) *tunnel.Error {
	return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: e.Server.Name, Err: err, Fault: tunnel.FaultUnusable}
}

// NoHTTP2 returns the error of a server that should speak gRPC and speaks HTTP/1.1.
func (e *Endpoint) NoHTTP2(err error) *tunnel.Error {
	wrong := e.WrongServer(fmt.Errorf("it does not speak gRPC (%w): for an http-connect server use %s", err, e.OtherMode(tunnel.ModeHTTPConnect)))
	wrong.Next = "set " + e.OtherMode(tunnel.ModeHTTPConnect)
	return wrong
}

// ModeSetting returns the mode of the server as it was set.
func (e *Endpoint) ModeSetting() string { return e.Names().ModeIs(e.Server.Mode) }

// NotAProxy says what to do about a server that is no standard proxy.
func (e *Endpoint) NotAProxy() string {
	return fmt.Sprintf("write the address of a proxy in place of %s=%s, or correct %s", e.Names().ProxyServer, e.Server.Name, e.ModeSetting())
}

// OtherMode returns the setting for a server that speaks mode.
func (e *Endpoint) OtherMode(mode tunnel.Mode) string { return e.Names().OtherMode(e.Server, mode) }
