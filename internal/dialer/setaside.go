// SPDX-License-Identifier: Apache-2.0

package dialer

import "time"

const (
	// firstBackoff is how long an endpoint is set aside after a first failure. Each
	// further failure doubles it, up to maxBackoff.
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 10 * time.Second
)

// setAside has the failures of an endpoint since its last success. Dials try an
// endpoint that is set aside only when all others have failed. When its back-off is
// over, one dial at a time may try it like any other.
//
// The zero value is an endpoint in good standing. It has no clock and no lock.
type setAside struct {
	failures    int       // how often the back-off has grown
	until       time.Time // the end of the back-off
	unreachable bool      // not even a handshake succeeds
	trial       int       // the claim of the dial that tries it; 0 if there is none
	claims      int
}

// failed records at now that a dial or a check has failed which began at began. random
// is in [0, 1).
//
// If a server fails, many dials fail together. The back-off grows once for all that
// began before its end, because they tell nothing new.
func (a *setAside) failed(began, now time.Time, unreachable bool, random float64) {
	a.unreachable = a.unreachable || unreachable
	if a.failures > 0 && began.Before(a.until) {
		return
	}
	a.failures++
	a.until = now.Add(backoff(a.failures, random))
}

// succeeded resets everything after a dial was answered.
func (a *setAside) succeeded() { *a = setAside{claims: a.claims} }

// reached records a handshake. It resets an endpoint that could not be reached, but not
// one that was reached and did not serve dials.
func (a *setAside) reached() {
	if a.unreachable {
		a.succeeded()
	}
}

// isAside reports whether dials try others first at now. The watch is the first to
// reach an unreachable endpoint again, so a watched one stays aside until then.
func (a *setAside) isAside(now time.Time, watched bool) bool {
	if a.failures == 0 {
		return false
	}
	return a.trial != 0 || (a.unreachable && watched) || now.Before(a.until)
}

// claim records that a dial tries the endpoint. It returns what release wants.
func (a *setAside) claim() int {
	if a.failures == 0 || a.trial != 0 {
		return 0
	}
	a.claims++
	a.trial = a.claims
	return a.trial
}

// release ends a claim. The claim of another dial stays.
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

// jittered returns d, 20 % more or less, so that many processes do not act at the same
// time.
func jittered(d time.Duration, random float64) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*random))
}
