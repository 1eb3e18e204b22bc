// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// appEnded handles the app's FIN. It returns when the relay has ended.
func (r *relay) appEnded() {
	r.appFinished.Store(true)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		wait, done := r.afterFIN(time.Now())
		if done {
			return
		}
		timer.Reset(wait)
		select {
		case <-r.targetDone:
			return
		case <-r.ended:
			return
		case <-timer.C:
		}
	}
}

// afterFIN closes the tunnel or resets the app, if it is time. Otherwise it returns
// when to call it again.
func (r *relay) afterFIN(now time.Time) (wait time.Duration, done bool) {
	if r.targetIsDone() {
		return 0, true
	}
	if r.appGone.Load() || r.opt.AppState() == AppGone {
		r.appGone.Store(true)
		if wait := r.lastSent.left(r.started, now, closeDelay); wait > 0 {
			return wait, false
		}
		r.conclude(AppClosed, nil)
		_ = r.tun.Close()
		return 0, true
	}
	wait = r.lastMove.left(r.started, now, r.opt.HalfCloseTimeout)
	if wait <= 0 {
		r.abort(HalfCloseUnsupported, nil)
		return 0, true
	}
	return min(wait, appStateInterval), false
}
