// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// holdFIN keeps back the app's FIN, which the tunnel cannot carry. It returns when the
// relay has ended.
func (r *relay) holdFIN() {
	r.sentAll.Store(true) // before appFinished, which others read
	r.appFinished.Store(true)
	timer := time.NewTimer(0)
	defer timer.Stop()
	clock := idleClock{timeout: r.opt.HalfCloseTimeout}
	for {
		wait, done := r.afterFIN(&clock, time.Now())
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
func (r *relay) afterFIN(clock *idleClock, now time.Time) (wait time.Duration, done bool) {
	if r.targetIsDone() {
		return 0, true
	}
	if r.appGone.Load() || r.opt.AppState() == AppGone {
		r.appGone.Store(true)
		if wait := r.lastSent.left(r.started, now, r.opt.wait(closeDelay)); wait > 0 {
			return wait, false
		}
		r.conclude(AppClosed, nil)
		_ = r.tun.Close()
		return 0, true
	}
	wait, silent := r.checkIdle(clock, now)
	if silent {
		r.abort(HalfCloseUnsupported, nil)
		return 0, true
	}
	return min(wait, r.opt.wait(appStateInterval)), false
}
