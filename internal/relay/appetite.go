// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"math"
	"time"
)

// memory is how far back an appetite looks. Apps read in bursts: curl with
// --limit-rate takes what is there, and then sleeps for seconds.
const memory = 10 * time.Second

// appetite is at what pace an app reads, and how much may be received for it so
// that it is neither left waiting nor left behind.
type appetite struct {
	looked   time.Time
	taken    int64   // bytes that the app had taken when looked at
	bytes    float64 // that it took, and
	seconds  float64 // in how many: both fade with memory
	received float64 // how much more may be received, in bytes
}

// start begins the estimation, once: taken is how many bytes the app, or its
// kernel, has taken before it was behind for the first time.
func (a *appetite) start(now time.Time, taken int64) {
	if a.looked.IsZero() {
		a.looked, a.taken, a.seconds = now, taken, memory.Seconds()/2
	}
}

// look brings the estimation up to date. level is how full the app's buffer is,
// from 0 to 1: half full is where it should stay.
func (a *appetite) look(now time.Time, taken int64, level float64) {
	passed := now.Sub(a.looked).Seconds()
	fade := math.Exp(-passed / memory.Seconds())
	a.bytes = a.bytes*fade + float64(taken-a.taken)
	a.seconds = a.seconds*fade + passed
	a.looked, a.taken = now, taken
	a.received = min(piece, a.received+a.pace(level)*passed)
}

// pace is how many bytes a second should be received: what the app takes, more
// where its buffer is less than half full, and less where it is fuller.
func (a *appetite) pace(level float64) float64 {
	return 2 * (1 - level) * a.bytes / a.seconds
}

// wait is how long nothing should be received.
func (a *appetite) wait(level float64) time.Duration {
	if a.received > 0 {
		return 0
	}
	pace := a.pace(level)
	if pace*nap.Seconds() <= -a.received {
		return nap
	}
	return max(time.Duration(-a.received/pace*float64(time.Second)), time.Millisecond)
}

// eat counts n bytes that were received.
func (a *appetite) eat(n int) { a.received = max(-piece, a.received-float64(n)) }
