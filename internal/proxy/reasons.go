// SPDX-License-Identifier: Apache-2.0

package proxy

import "github.com/shoot-proxy/proxy-client/internal/tunnel"

// The reasons for which the proxy refuses a connection before it dials. No tunnel can
// give them.
const (
	ReasonOutsideCIDRs  tunnel.Reason = "outside_cidrs"  // the destination is not the shoot's
	ReasonLoop          tunnel.Reason = "loop"           // the destination is the sidecar or a proxy-server
	ReasonNotRedirected tunnel.Reason = "not_redirected" // the client connected to the sidecar itself
	ReasonMaxDials      tunnel.Reason = "max_dials"      // too many dials in flight
)

// Reasons returns every reason for which a connection is not made: those of a dial, and
// the proxy's own.
func Reasons() []tunnel.Reason {
	return append(tunnel.Reasons(), ReasonOutsideCIDRs, ReasonLoop, ReasonNotRedirected, ReasonMaxDials)
}
