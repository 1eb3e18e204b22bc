// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// targetClosed passes the target's end on, after all of its bytes, through a tunnel that
// can only close both directions.
func (r *relay) targetClosed() {
	r.conclude(TargetClosed, nil)
	_ = r.app.SetLinger(disarmed)
	_ = r.app.CloseWrite()
	// The app may close later, but not after this timeout.
	_ = r.app.SetReadDeadline(time.Now().Add(r.opt.HalfCloseTimeout))
}

// targetFailed ends the app's side after Receive has ended with err, which is no orderly
// end.
func (r *relay) targetFailed(err error) {
	switch {
	case errors.Is(err, tunnel.ErrClosed):
		// The caller of Close has already set the reason.
	case errors.Is(err, tunnel.ErrReset):
		r.abort(TargetReset, err)
	case r.appGone.Load() || r.appFinished.Load() && r.opt.AppState() == AppGone:
		// The app has closed, so it needs no RST.
		r.conclude(AppClosed, nil)
	case errors.Is(err, tunnel.ErrProtocol):
		r.abort(Protocol, err)
	case errors.Is(err, tunnel.ErrUnreceived):
		r.abort(SlowReader, ErrTotal)
	default:
		r.abort(TunnelBroken, err)
	}
}

// refuse answers bytes of the app that the target does not take any more: with RST, as
// the target would. But the app must first have taken all of the target's bytes. refuse
// reports whether to continue reading until then.
func (r *relay) refuse() bool {
	if queued, err := sockio.Unsent(r.raw); err == nil && queued > 0 {
		return true
	}
	_ = Reset(r.app)
	return false
}
