// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// appEnded deals with the app's FIN. It returns when the relay is over.
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
		case <-r.over:
			return
		case <-timer.C:
		}
	}
}

// afterFIN closes the tunnel, or resets the app, where it is time to; else it
// returns how long to wait until it should be called again.
func (r *relay) afterFIN(now time.Time) (wait time.Duration, done bool) {
	if r.targetIsDone() {
		return 0, true
	}
	if r.appGone.Load() || r.opt.AppState() == AppGone {
		r.appGone.Store(true)
		if wait := r.lastSent.left(r.began, now, closeDelay); wait > 0 {
			return wait, false
		}
		r.conclude(AppClosed, nil)
		_ = r.tun.Close()
		return 0, true
	}
	wait = r.moved.left(r.began, now, r.opt.HalfCloseTimeout)
	if wait <= 0 {
		r.abort(HalfCloseUnsupported, nil)
		return 0, true
	}
	return min(wait, askAgain), false
}
