// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"math"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// rateMemory is the time constant of readRate. It is long because apps read in bursts:
// curl with --limit-rate reads what is there, and then sleeps for seconds.
const rateMemory = 10 * time.Second

// readRate estimates how fast an app reads. From that it limits how much the relay may
// receive for it, so that the app's buffer runs neither empty nor full.
type readRate struct {
	updated    time.Time // time of the last update
	takenBytes int64     // bytes that the app had taken by then
	bytes      float64   // bytes that it took, with older ones fading
	seconds    float64   // the time it took them in, fading likewise
	allowance  float64   // bytes that may be received now; negative if too many were
}

// start begins the estimate; later calls do nothing. taken is how many bytes the app
// and its kernel have taken so far.
func (a *readRate) start(now time.Time, taken int64) {
	if a.updated.IsZero() {
		a.updated, a.takenBytes, a.seconds = now, taken, rateMemory.Seconds()/2
	}
}

// update updates the estimate. level is how full the app's buffer is, from 0 to 1. The
// goal is 0.5.
func (a *readRate) update(now time.Time, taken int64, level float64) {
	passed := now.Sub(a.updated).Seconds()
	fade := math.Exp(-passed / rateMemory.Seconds())
	a.bytes = a.bytes*fade + float64(taken-a.takenBytes)
	a.seconds = a.seconds*fade + passed
	a.updated, a.takenBytes = now, taken
	a.allowance = min(tunnel.MaxReceive, a.allowance+a.bytesPerSecond(level)*passed)
}

// bytesPerSecond returns how fast to receive. It is the app's rate, increased if its
// buffer is less than half full, and reduced if it is fuller.
func (a *readRate) bytesPerSecond(level float64) float64 {
	return 2 * (1 - level) * a.bytes / a.seconds
}

// wait returns how long to receive nothing.
func (a *readRate) wait(level float64) time.Duration {
	if a.allowance > 0 {
		return 0
	}
	pace := a.bytesPerSecond(level)
	if pace*maxWait.Seconds() <= -a.allowance {
		return maxWait
	}
	return max(time.Duration(-a.allowance/pace*float64(time.Second)), time.Millisecond)
}

// countReceived counts n received bytes.
func (a *readRate) countReceived(n int) {
	a.allowance = max(-tunnel.MaxReceive, a.allowance-float64(n))
}
