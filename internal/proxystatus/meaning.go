// SPDX-License-Identifier: Apache-2.0

package proxystatus

import "github.com/shoot-proxy/proxy-client/internal/tunnel"

// meanings has the error types of RFC 9209, section 2.3, that say something of a dial.
var meanings = map[string]struct {
	reason tunnel.Reason
	fault  tunnel.Fault
}{
	"connection_refused":        {tunnel.ReasonRefused, tunnel.FaultTarget},
	"connection_terminated":     {tunnel.ReasonRefused, tunnel.FaultTarget},
	"connection_timeout":        {tunnel.ReasonTimeout, tunnel.FaultTarget},
	"dns_timeout":               {tunnel.ReasonUnreachable, tunnel.FaultTarget},
	"dns_error":                 {tunnel.ReasonUnreachable, tunnel.FaultTarget},
	"destination_not_found":     {tunnel.ReasonUnreachable, tunnel.FaultTarget},
	"destination_unavailable":   {tunnel.ReasonUnreachable, tunnel.FaultTarget},
	"destination_ip_unroutable": {tunnel.ReasonUnreachable, tunnel.FaultTarget},
	"destination_ip_prohibited": {tunnel.ReasonForbidden, tunnel.FaultTarget},
	"http_request_denied":       {tunnel.ReasonForbidden, tunnel.FaultTarget},
	"connection_limit_reached":  {tunnel.ReasonMaxConnections, tunnel.FaultServer},
	"proxy_internal_error":      {tunnel.ReasonOther, tunnel.FaultServer},
	"proxy_configuration_error": {tunnel.ReasonOther, tunnel.FaultServer},
	"proxy_loop_detected":       {tunnel.ReasonOther, tunnel.FaultServer},
}

// Meaning returns what the type of an error says of a dial, if that is known.
func Meaning(failure string) (tunnel.Reason, tunnel.Fault, bool) {
	is, ok := meanings[failure]
	return is.reason, is.fault, ok
}
