// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// checksPerTimeout is how many times an idle connection is checked within its timeout.
// A timeout lasts up to a quarter longer.
const checksPerTimeout = 4

// watchIdle resets the app when nothing has moved for IdleTimeout. stop ends the watch,
// and waits for a check that is running.
//
// Moved bytes do not reset the timer. They only store their time in lastMove.
func (r *relay) watchIdle() (stop func()) {
	if r.opt.IdleTimeout <= 0 {
		return func() {}
	}
	var (
		mu      sync.Mutex
		stopped bool
		timer   *time.Timer
		clock   = idleClock{timeout: r.opt.IdleTimeout}
	)
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(clock.interval(), func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped || r.isEnding() {
			return
		}
		again, idle := r.checkIdle(&clock, time.Now())
		if idle {
			r.abort(Idle, fmt.Errorf("nothing has moved for %s", clock.timeout))
			return
		}
		timer.Reset(again)
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// checkIdle calls clock.check with the state of now.
func (r *relay) checkIdle(clock *idleClock, now time.Time) (again time.Duration, idle bool) {
	acked, _ := r.acked() // fails only if app is closed; then the relay has ended
	return clock.check(now, r.lastMove.time(r.started), acked)
}

// isEnding reports whether the relay has ended, or the app has closed. The last bytes
// of an app that has closed still need time to reach the target.
func (r *relay) isEnding() bool { return r.hasEnded() || r.appGone.Load() }

// acked returns how many bytes the app's kernel has acknowledged (TCP_INFO, tcp(7)).
// The count grows while an app reads bytes from the socket's buffer, which the relay
// cannot see otherwise.
func (r *relay) acked() (uint64, error) {
	info, err := sockio.TCPInfo(r.raw)
	if err != nil {
		return 0, err
	}
	return info.Bytes_acked, nil
}

// idleClock measures how long nothing has moved.
type idleClock struct {
	timeout   time.Duration
	acked     uint64    // bytes that the app's kernel had acknowledged at the last check
	ackedGrew time.Time // when that number was first seen
}

// check returns how long to wait until the next check, or that nothing has moved for
// the timeout. moved is when the relay last moved a byte.
func (c *idleClock) check(now, moved time.Time, acked uint64) (again time.Duration, idle bool) {
	if acked != c.acked {
		c.acked, c.ackedGrew = acked, now
	}
	if c.ackedGrew.After(moved) {
		moved = c.ackedGrew
	}
	left := moved.Add(c.timeout).Sub(now)
	return min(left, c.interval()), left <= 0
}

func (c *idleClock) interval() time.Duration { return max(1, c.timeout/checksPerTimeout) }
