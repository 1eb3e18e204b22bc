// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync/atomic"
	"time"
)

// moment is when something last happened. It is kept on the monotonic clock, as a
// distance from a time that all moments of a relay share: whoever sets the wall
// clock changes none. One goroutine may set it while others read it.
type moment struct{ sinceBegin atomic.Int64 } // in nanoseconds

// never is a moment so long ago, 36 years, that no timeout lasts until now.
const never = -1 << 60

func (m *moment) set(begin, now time.Time) { m.sinceBegin.Store(int64(now.Sub(begin))) }

// forget makes it a moment that has never been.
func (m *moment) forget() { m.sinceBegin.Store(never) }

// left returns what is left at now of a span that began at m.
func (m *moment) left(begin, now time.Time, span time.Duration) time.Duration {
	return m.time(begin).Add(span).Sub(now)
}

// time has a monotonic reading, if begin has one.
func (m *moment) time(begin time.Time) time.Time {
	return begin.Add(time.Duration(m.sinceBegin.Load()))
}
