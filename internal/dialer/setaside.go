// SPDX-License-Identifier: Apache-2.0

package dialer

import "time"

const (
	// firstBackoff is how long an endpoint is set aside after a first failure;
	// each further one doubles it, up to maxBackoff.
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// setAside is what is held against an endpoint since its last success. An
// endpoint that is set aside is asked when all others have failed. When its
// back-off is over one dial at a time may try it as if nothing had happened.
//
// The zero value is an endpoint in good standing. It knows no clock and no lock.
type setAside struct {
	failures    int       // that have made the back-off grow
	until       time.Time // the end of the back-off
	unreachable bool      // not even a handshake succeeds
	trial       int       // the claim of the dial that tries it; 0: none does
	claims      int
}

// failed records that what began at began has failed at now. random is in
// [0, 1).
//
// Many dials fail together where a server fails. The back-off grows once for
// all that began before its end: they say nothing new.
func (a *setAside) failed(began, now time.Time, unreachable bool, random float64) {
	a.unreachable = a.unreachable || unreachable
	if a.failures > 0 && began.Before(a.until) {
		return
	}
	a.failures++
	a.until = now.Add(backoff(a.failures, random))
}

// succeeded forgets everything: a dial has been answered.
func (a *setAside) succeeded() { *a = setAside{claims: a.claims} }

// reached records a handshake. It answers for an endpoint that could not be
// reached, but not for one that took dials and did not serve them.
func (a *setAside) reached() {
	if a.unreachable {
		a.succeeded()
	}
}

// aside reports whether others come first at now. An unreachable endpoint that
// is watched is left to the watch, which is the first to know.
func (a *setAside) aside(now time.Time, watched bool) bool {
	if a.failures == 0 {
		return false
	}
	return a.trial != 0 || (a.unreachable && watched) || now.Before(a.until)
}

// claim notes that a dial tries the endpoint. It returns what release wants.
func (a *setAside) claim() int {
	if a.failures == 0 || a.trial != 0 {
		return 0
	}
	a.claims++
	a.trial = a.claims
	return a.trial
}

// release ends a claim. Another's claim stays.
func (a *setAside) release(claim int) {
	if a.trial == claim {
		a.trial = 0
	}
}

// backoff returns the pause after so many failures, 20 % more or less.
func backoff(failures int, random float64) time.Duration {
	d := maxBackoff
	// 250 ms double to more than 10 s in six steps.
	if failures <= 6 {
		d = min(firstBackoff<<(failures-1), maxBackoff)
	}
	return jittered(d, random)
}

// jittered returns d, 20 % more or less, so that many of us do not do the same
// at the same time.
func jittered(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
