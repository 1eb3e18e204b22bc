// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/h2proxy"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tlsfiles"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// shared is what the servers and endpoints of a Dialer share. They hold it and not the
// Dialer.
type shared struct {
	certs     *tlsfiles.Files
	names     tunnel.SettingNames
	cidrs     *cidr.Set
	timeout   time.Duration // Config.DialTimeout
	connector *serverconn.Connector
	log       *slog.Logger
	metrics   *Metrics
	resolver  resolver
	connect   func(_ context.Context, _ *endpoint, alpn []string) (net.Conn, string, *tunnel.Error) // connectTo
	random    func() float64                                                                        // in [0, 1)
	several   func() bool                                                                           // whether there is a choice of endpoints

	grpc   grpcmode.Shared
	h2     h2proxy.Shared
	spares spare.Shared // of the modes in which each connection has one of its own

	addressKnown chan struct{} // closed when an address of any server is known
	addressOnce  sync.Once     // closes addressKnown

	life       context.Context // of work that belongs to no single dial
	die        context.CancelFunc
	background sync.WaitGroup // counts that work, and closes that are still under way
}
