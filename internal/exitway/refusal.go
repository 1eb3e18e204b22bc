// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"fmt"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// What to do about refusals of an exit, if more is known than the reason says.
const (
	raiseStreams = "raise the limits of the exit, which its log names, or run more exits"
	seeExit      = "the exit's log has the cause"
)

// meaning is what a refusal means.
type meaning struct {
	reason tunnel.Reason
	fault  tunnel.Fault
	next   string
}

// meanings has the proxy error types of RFC 9209, section 2.3, that say why a target was
// not reached.
var meanings = map[string]meaning{
	"connection_refused":        {reason: tunnel.ReasonRefused},
	"connection_terminated":     {reason: tunnel.ReasonRefused},
	"connection_timeout":        {reason: tunnel.ReasonTimeout},
	"dns_timeout":               {reason: tunnel.ReasonUnreachable},
	"dns_error":                 {reason: tunnel.ReasonUnreachable},
	"destination_not_found":     {reason: tunnel.ReasonUnreachable},
	"destination_unavailable":   {reason: tunnel.ReasonUnreachable},
	"destination_ip_unroutable": {reason: tunnel.ReasonUnreachable},
	"destination_ip_prohibited": {reason: tunnel.ReasonForbidden},
	"http_request_denied":       {reason: tunnel.ReasonForbidden},
	"connection_limit_reached":  {reason: tunnel.ReasonMaxConnections, fault: tunnel.FaultServer, next: raiseStreams},
	"proxy_internal_error":      {reason: tunnel.ReasonOther, fault: tunnel.FaultServer, next: seeExit},
	"proxy_configuration_error": {reason: tunnel.ReasonOther, fault: tunnel.FaultServer, next: seeExit},
}

// byStatus returns the meaning of a refusal without a known error type.
func byStatus(status int) meaning {
	switch status {
	case 403:
		return meaning{reason: tunnel.ReasonForbidden}
	case 404, 405, 501:
		return meaning{reason: tunnel.ReasonProtocol, fault: tunnel.FaultRefusal, next: "see whether this is an exit: its answer is not that of a proxy"}
	case 401, 407:
		return meaning{reason: tunnel.ReasonForbidden, fault: tunnel.FaultRefusal, next: "give a client certificate that the exit accepts"}
	case 429:
		return meaning{reason: tunnel.ReasonMaxConnections, fault: tunnel.FaultServer, next: raiseStreams}
	case 504:
		return meaning{reason: tunnel.ReasonTimeout}
	default:
		return meaning{reason: tunnel.ReasonOther, next: seeExit}
	}
}

// dialError returns the error of a dial on t that ended with err.
func (t *exitTunnel) dialError(ctx context.Context, err error) *tunnel.Error {
	is := &tunnel.Error{Server: t.server, IDs: t.ids, Fault: tunnel.FaultServer}
	refusal, refused := errors.AsType[*h2connect.Refusal](err)
	switch {
	case refused:
		m, known := meanings[refusal.ProxyError]
		if !known {
			m = byStatus(refusal.Status)
		}
		is.Reason, is.Fault, is.Next = m.reason, m.fault, m.next
	case errors.Is(ctx.Err(), context.Canceled):
		is.Reason, is.Fault, err = tunnel.ReasonCancelled, tunnel.FaultTarget, errGaveUp
	case ctx.Err() != nil:
		is.Reason, err = tunnel.ReasonTimeout, errGaveUp
		is.Next = "see whether the exit hangs or is overloaded: its log, its CPU"
	default: // broken, full, or not processed
		is.Reason, is.Next = tunnel.ReasonExitUnreachable, seeExit
	}
	is.Err = fmt.Errorf("exit %s: %w", t.target, err)
	return is
}
