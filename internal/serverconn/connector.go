// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"net/netip"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Connector makes connections to servers. It holds what these share: the TLS files, the
// watch for unacknowledged bytes, and memory for bytes that arrive.
type Connector struct {
	files     *tlsfiles.Files
	names     tunnel.SettingNames
	keepalive time.Duration
	acks      ackWatch
	chunks    chunks
}

// NewConnector returns a Connector. Errors call settings by names. keepalive is how long
// a connection is idle until TCP asks for an answer.
func NewConnector(files *tlsfiles.Files, names tunnel.SettingNames, keepalive time.Duration) *Connector {
	return &Connector{files: files, names: names, keepalive: keepalive}
}

// Endpoint returns the endpoint of server at addr, which is zero for a Unix socket.
func (c *Connector) Endpoint(server tunnel.Server, addr netip.AddrPort) *Endpoint {
	return &Endpoint{Server: server, Addr: addr, connector: c}
}

// Close ends the watch. Call it when all connections are closed.
func (c *Connector) Close() { c.acks.stop() }
