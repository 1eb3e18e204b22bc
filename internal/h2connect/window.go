// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"errors"
	"fmt"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/quota"
)

const (
	// initialWindow is how many bytes a proxy may send on a new stream, and the least that
	// a window is while memory is not scarce.
	initialWindow = 256 << 10
	// maxWindow is the largest window of a stream: 100 MiB/s need 2 MiB over a path of
	// 20 ms.
	maxWindow = 4 << 20
	// narrowWindow is the window of every stream while memory is scarce. tinyWindow is that
	// while hardly any is left. Both fill a segment of an inbox. At the default limits the
	// last quarter of the quota holds one of tinyWindow for each connection.
	narrowWindow = 32 << 10
	tinyWindow   = 4 << 10
	// grownShare is the part of the quota by which all windows together may grow.
	grownShare = 8
	// settingsTimeout is how long a proxy may need to acknowledge our SETTINGS.
	// fullTimeout is how long if nothing is left of the quota: until it acknowledges them
	// it sends as much as before.
	settingsTimeout = 10 * time.Second
	fullTimeout     = time.Second
)

// ErrSettings is wrapped by the error of a connection whose peer does not acknowledge
// SETTINGS (RFC 9113, section 6.5.3).
var ErrSettings = errors.New("the proxy does not acknowledge SETTINGS")

// taken counts n bytes that the caller of Receive has taken. It returns how many bytes the
// proxy may be told to send: the caller then announces them. The caller holds mu.
func (s *Stream) taken(n int) int {
	if s.closed || s.targetFIN || s.verdict != nil {
		return 0 // and nothing may grow any more: the end has given back by how much it had
	}
	s.measure(n)
	window := s.window
	if base := int(s.conn.base.Load()); base < initialWindow {
		window = base
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
	if grown := c.grown.Add(by); by > 0 && (c.base.Load() < initialWindow || c.cfg.Quota != nil && grown > int64(c.cfg.Quota.Limit()/grownShare)) {
		c.grown.Add(-by)
		return
	}
	s.window = window
}

// adapt makes the windows of all streams narrow when more than a half of the quota is
// used, tiny when more than three quarters are, and wide again when less than a quarter is.
// The proxy is told by SETTINGS, which also takes back what it was allowed to send before.
// A proxy that does not acknowledge them in time loses the connection.
func (c *Conn) adapt() {
	q := c.cfg.Quota
	if q == nil {
		return
	}
	base := c.base.Load()
	if to := baseWindow(q, base); to != base && c.base.CompareAndSwap(base, to) {
		c.wire.SetStreamWindow(int(to))
	}
	if !q.Room(0) {
		c.checkSettings(fullTimeout)
	}
}

// baseWindow returns the window of a stream that has not grown. now is what it is now.
func baseWindow(q *quota.Quota, now int64) int64 {
	switch quarter := q.Limit() / 4; {
	case !q.Room(quarter):
		return tinyWindow
	case q.Scarce():
		return min(now, narrowWindow)
	case now == tinyWindow:
		return narrowWindow
	case q.Room(3 * quarter):
		return initialWindow
	default:
		return now
	}
}

// checkSettings ends the connection if its proxy has not acknowledged SETTINGS for longer
// than the timeout.
func (c *Conn) checkSettings(timeout time.Duration) {
	if late := c.wire.Unacknowledged(); late > timeout {
		c.wire.Fail(fmt.Errorf("%w within %s", ErrSettings, timeout))
	}
}

// roundTrip returns the time of a round trip, or 0 before it is known.
func (c *Conn) roundTrip() time.Duration { return time.Duration(c.trip.Load()) }
