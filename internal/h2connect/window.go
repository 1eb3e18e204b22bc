// SPDX-License-Identifier: Apache-2.0

package h2connect

import "time"

const (
	// initialWindow is how many bytes a proxy may send on a new stream, and the least that
	// a window is while memory is not scarce.
	initialWindow = 256 << 10
	// maxWindow is the largest window of a stream: 100 MiB/s need 2 MiB over a path of
	// 20 ms.
	maxWindow = 4 << 20
	// narrowWindow is the window of every stream while memory is scarce.
	narrowWindow = 16 << 10
	// grownShare is the part of the quota by which all windows together may grow.
	grownShare = 4
)

// taken counts n bytes that the caller of Receive has taken. It returns how many bytes the
// proxy may be told to send: the caller then announces them. The caller holds mu.
func (s *Stream) taken(n int) int {
	s.measure(n)
	window := s.window
	if s.conn.narrow.Load() {
		window = narrowWindow
	}
	if s.targetFIN || s.verdict != nil {
		return 0
	}
	open := s.wire.Window()
	due := window - open - s.inbox.Bytes()
	// Few frames are best. But a proxy that may have nothing left to send with must not
	// wait for more.
	if due < window/16 || due < window/2 && open > window/4 {
		return 0
	}
	s.wire.Widen(due)
	return due
}

// measure counts n bytes that were taken, and adapts the window to their rate. The window
// must hold what comes in a round trip. It doubles if it holds less than two of those, and
// the caller has taken everything. It shrinks if it holds a lot more. The caller holds mu.
func (s *Stream) measure(n int) {
	trip := s.conn.roundTrip()
	if trip == 0 {
		return
	}
	s.measured += n
	now := time.Since(s.conn.began)
	elapsed := now - s.measuredSince
	if elapsed < trip {
		return
	}
	perTrip := int(float64(s.measured) * float64(trip) / float64(elapsed))
	s.measured, s.measuredSince = 0, now
	switch {
	case perTrip > s.window/2 && s.inbox.Empty():
		s.resize(min(2*s.window, maxWindow))
	case perTrip < s.window/16:
		s.resize(max(s.window/2, initialWindow))
	}
}

// resize changes the window, if the quota allows it. The caller holds mu.
func (s *Stream) resize(window int) {
	by := int64(window - s.window)
	c := s.conn
	if by == 0 {
		return
	}
	if grown := c.grown.Add(by); by > 0 && (c.narrow.Load() || c.cfg.Quota != nil && grown > int64(c.cfg.Quota.Limit()/grownShare)) {
		c.grown.Add(-by)
		return
	}
	s.window = window
}

// adapt makes the windows of all streams narrow when more than half of the quota is used,
// and wide again when less than a quarter is. The proxy is told by SETTINGS, which also
// takes back what it was allowed to send before.
func (c *Conn) adapt() {
	q := c.cfg.Quota
	if q == nil {
		return
	}
	switch narrow := c.narrow.Load(); {
	case !narrow && q.Scarce() && c.narrow.CompareAndSwap(false, true):
		c.wire.SetStreamWindow(narrowWindow)
	case narrow && q.Room(q.Limit()-q.Limit()/4) && c.narrow.CompareAndSwap(true, false):
		c.wire.SetStreamWindow(initialWindow)
	}
}

// roundTrip returns the time of a round trip, or 0 before it is known.
func (c *Conn) roundTrip() time.Duration { return time.Duration(c.trip.Load()) }
