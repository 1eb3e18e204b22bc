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
	// freeWindow is what a window grows to without a trial: 10 ms of a path that carries
	// 100 MiB/s, which is its round trip when it is busy.
	freeWindow = 1 << 20
	// maxWindow is the largest window of a stream: 100 MiB/s need 2 MiB over a path of
	// 20 ms.
	maxWindow = 4 << 20
	// narrowWindow is the window of every stream while memory is scarce. tinyWindow is that
	// while hardly any is left. Both fill a segment of an inbox. At the default limits the
	// last quarter of the quota holds one of tinyWindow for each connection.
	narrowWindow = 32 << 10
	tinyWindow   = 4 << 10
	// grownShare is the part of the quota by which the windows of all connections together
	// may grow. Neither scarce memory nor an idle stream gives back what it has grown by: HTTP/2
	// takes back the windows of all streams, or none.
	grownShare = 8
	// trialWindows is how many windows of bytes are measured at once. slowTrial is how long
	// at most: a stream that gets no more in that time needs no large window. A window is
	// used up once in a round trip, so this is enough for a path of half a second.
	trialWindows = 4
	slowTrial    = trialWindows * 500 * time.Millisecond
	// trialPause is how many measurements follow a trial without success until the next one.
	trialPause = 8
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

// measure counts n bytes that were taken, and looks for the window that the path needs. The
// caller holds mu.
//
// The window doubles while the app takes all that comes. Above freeWindow it does so on
// trial: it stays if the bytes then come faster by a sixteenth. The round trip of a PING
// would not tell what the path needs: if its queues are full, that is ten times as long as
// if they are empty, and it grows with the window itself.
func (s *Stream) measure(n int) {
	now := time.Since(s.conn.began)
	if s.measuredSince == 0 {
		s.measuredSince = now
	}
	s.measured += n
	elapsed := now - s.measuredSince
	full := s.measured >= trialWindows*s.window
	if !full && elapsed < slowTrial || elapsed <= 0 {
		return
	}
	rate := float64(s.measured) / elapsed.Seconds()
	s.measured, s.measuredSince = 0, now
	switch {
	case s.onTrial && s.window > freeWindow && rate < s.rate*17/16:
		s.onTrial, s.pause = false, trialPause
		s.resize(s.window / 2)
	case !full:
		s.onTrial = false
		s.resize(max(s.window/2, initialWindow))
	case !s.onTrial && s.pause > 0:
		s.pause--
	case s.inbox.Empty(): // otherwise the app is slower than the path
		s.rate = rate
		before := s.window
		s.resize(min(2*before, maxWindow))
		s.onTrial = s.window > before
	default:
		s.onTrial = false
	}
}

// resize changes the window, if the quota allows it. The caller holds mu.
func (s *Stream) resize(window int) {
	by := window - s.window
	if by > 0 && s.conn.base.Load() < initialWindow {
		return
	}
	if q := s.conn.cfg.Quota; by != 0 && q != nil && !q.Promise(by, q.Limit()/grownShare) {
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
	if base := c.base.Load(); baseWindow(q, base) != base {
		c.changeBase()
	}
	if !q.Room(0) {
		c.checkSettings(fullTimeout)
	}
}

// changeBase changes the base as the quota wants it now. If several changes follow each other,
// the proxy is told the last one.
func (c *Conn) changeBase() {
	c.changing.Lock()
	defer c.changing.Unlock()
	base := c.base.Load()
	if to := baseWindow(c.cfg.Quota, base); to != base {
		c.base.Store(to)
		c.wire.SetStreamWindow(int(to))
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
