// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"fmt"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/proxystatus"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// What to do about refusals of an exit, if more is known than the reason says.
const (
	raiseStreams = "raise the limits of the exit, which its log names, or run more exits"
	seeExit      = "the exit's log has the cause"
	targetHangs  = "see whether the target's node is up, and whether a NetworkPolicy or firewall of the shoot drops connections from the exit"
	notAProxy    = "see whether this is an exit: its answer is not that of a proxy"
)

// refused returns the reason and the fault of a refusal, and what to do about it if more is
// known than the reason says.
func refused(r *h2connect.Refusal) (reason tunnel.Reason, fault tunnel.Fault, next string) {
	reason, fault, known := proxystatus.Meaning(r.ProxyError)
	if !known {
		reason, fault = proxystatus.MeaningOfStatus(r.Status)
	}
	switch {
	case !known && proxystatus.WantsPassword(r.Status):
		next = "give a client certificate that the exit accepts"
	case fault == tunnel.FaultRefusal:
		next = notAProxy
	case reason == tunnel.ReasonMaxConnections:
		next = raiseStreams
	case reason == tunnel.ReasonTimeout:
		next = targetHangs
	case reason == tunnel.ReasonOther:
		next = seeExit
	}
	return reason, fault, next
}

// atLimit reports whether the exit has refused a dial because of a limit. Its other tunnels
// most likely have the same answer.
func atLimit(err *tunnel.Error) bool {
	_, refused := errors.AsType[*h2connect.Refusal](err)
	return refused && err.Reason == tunnel.ReasonMaxConnections
}

// nextOfReset returns what to do about a reset with a reason, if more is known than the
// reason says.
func nextOfReset(reason tunnel.Reason) string {
	switch reason {
	case tunnel.ReasonUnreachable:
		return ""
	case tunnel.ReasonMaxConnections:
		return raiseStreams
	case tunnel.ReasonProtocol:
		return notAProxy
	default:
		return seeExit
	}
}

// dialError returns the error of a dial on t that ended with err.
func (t *exitTunnel) dialError(ctx context.Context, err error) *tunnel.Error {
	is := &tunnel.Error{Server: t.server, IDs: t.ids, Fault: tunnel.FaultServer}
	refusal, isRefused := errors.AsType[*h2connect.Refusal](err)
	reset, wasReset := errors.AsType[*h2connect.Reset](err)
	switch {
	case isRefused:
		is.Reason, is.Fault, is.Next = refused(refusal)
	case errors.Is(ctx.Err(), context.Canceled):
		is.Reason, is.Fault, err = tunnel.ReasonCancelled, tunnel.FaultTarget, errGaveUp
	case ctx.Err() != nil:
		is.Reason, err = tunnel.ReasonTimeout, errGaveUp
		is.Next = "see whether the exit hangs or is overloaded: its log, its CPU"
	case wasReset:
		is.Reason, is.Fault = reset.Meaning()
		is.Next = nextOfReset(is.Reason)
	default: // broken, full, or not processed
		is.Reason, is.Next = tunnel.ReasonExitUnreachable, seeExit
	}
	is.Err = fmt.Errorf("exit %s: %w", t.target, err)
	return is
}
