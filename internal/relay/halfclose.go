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
		if wait := left(r.lastSent.Load(), closeDelay, now); wait > 0 {
			return wait, false
		}
		r.conclude(AppClosed, nil)
		_ = r.tun.Close()
		return 0, true
	}
	wait = left(r.moved.Load(), r.opt.HalfCloseTimeout, now)
	if wait <= 0 {
		r.abort(HalfCloseUnsupported, nil)
		return 0, true
	}
	return min(wait, askAgain), false
}

// left returns what is left at now of a span that began at start, in Unix
// nanoseconds.
func left(start int64, span time.Duration, now time.Time) time.Duration {
	return time.Unix(0, start).Add(span).Sub(now)
}
