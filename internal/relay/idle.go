// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"fmt"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// looksPerTimeout is how often an idle connection is looked at until it has been
// idle for too long, and so how exact its end is: a timeout lasts up to a
// quarter longer.
const looksPerTimeout = 4

// watchIdle resets the app once nothing has moved for IdleTimeout. stop ends it,
// also where it is at it.
//
// Packets do not touch its timer: they leave their time in moved.
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
	timer = time.AfterFunc(clock.pause(), func() {
		mu.Lock()
		defer mu.Unlock()
		if stopped || r.endsByItself() {
			return
		}
		again, idle := r.lookIdle(&clock, time.Now())
		if idle {
			r.abort(Idle, fmt.Errorf("nothing has moved for %s (--idle-timeout)", clock.timeout))
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

// lookIdle is clock's look at now.
func (r *relay) lookIdle(clock *idleClock, now time.Time) (again time.Duration, idle bool) {
	acked, _ := r.acked() // fails where app is closed, and then it is over
	return clock.look(now, r.moved.time(r.began), acked)
}

// endsByItself reports whether the end has come, or is only waited for: what an
// app that has closed sent last must not be overtaken.
func (r *relay) endsByItself() bool { return r.isOver() || r.appGone.Load() }

// acked returns how many bytes the app's kernel has taken from ours (TCP_INFO,
// tcp(7)). It grows while an app reads what lies in the socket's buffer, of
// which the relay sees nothing.
func (r *relay) acked() (uint64, error) {
	info, err := sockio.TCPInfo(r.raw)
	if err != nil {
		return 0, err
	}
	return info.Bytes_acked, nil
}

// idleClock tells how long nothing has moved.
type idleClock struct {
	timeout time.Duration
	acked   uint64    // bytes that the app's kernel had taken at the last look
	grown   time.Time // when that was first seen
}

// look returns how long to wait for the next look, or that nothing has moved for
// too long. moved is when the relay last moved a byte.
func (c *idleClock) look(now, moved time.Time, acked uint64) (again time.Duration, idle bool) {
	if acked != c.acked {
		c.acked, c.grown = acked, now
	}
	if c.grown.After(moved) {
		moved = c.grown
	}
	left := moved.Add(c.timeout).Sub(now)
	return min(left, c.pause()), left <= 0
}

func (c *idleClock) pause() time.Duration { return max(1, c.timeout/looksPerTimeout) }
