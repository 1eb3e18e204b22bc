// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync/atomic"
	"time"
)

// moment is the time of the last event of one kind. It is stored as the time since a
// start, which all moments of a relay share. So it is on the monotonic clock, and
// setting the wall clock does not change it. One goroutine may set it while others read
// it.
type moment struct{ sinceStart atomic.Int64 } // in nanoseconds

// never is 36 years before the start, longer than any timeout.
const never = -1 << 60

func (m *moment) set(begin, now time.Time) { m.sinceStart.Store(int64(now.Sub(begin))) }

// setNever stores that the event has never happened.
func (m *moment) setNever() { m.sinceStart.Store(never) }

// left returns how much of a span that began at m is left at now.
func (m *moment) left(begin, now time.Time, span time.Duration) time.Duration {
	return m.time(begin).Add(span).Sub(now)
}

// time returns the moment, with a monotonic reading if begin has one.
func (m *moment) time(begin time.Time) time.Time {
	return begin.Add(time.Duration(m.sinceStart.Load()))
}
