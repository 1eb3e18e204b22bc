// SPDX-License-Identifier: Apache-2.0

package spare

import (
	"net/netip"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestSparesAndFiles: a process that may open few files keeps no spares.
func TestSparesAndFiles(t *testing.T) {
	if n := Affordable(); n < 0 || n > maxSpares {
		t.Errorf("%d for an endpoint, want 0 to %d", n, maxSpares)
	}
	to := serverconn.NewConnector(nil, tunnel.SettingNames{}, 0).Endpoint(tunnel.Server{Name: "x", Network: tunnel.NetworkUnix, Address: "/nowhere", Mode: tunnel.ModeHTTPConnect}, netip.AddrPort{})
	if n := New(to, nil, &Shared{Most: maxSpares}).most; n != 0 {
		t.Errorf("%d for a Unix socket, which has no handshake", n)
	}
}
