// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"sync"
	"time"
)

const (
	// quietLines is how many lines about strangers are logged in one quietInterval. Clients
	// without rights could otherwise fill the log.
	quietLines    = 20
	quietInterval = 10 * time.Second
)

// quiet limits the lines that peers without rights can cause.
type quiet struct {
	mu         sync.Mutex
	began      time.Time // of the interval
	lines      int       // logged since
	suppressed int       // not logged since
}

// allow reports whether a line may be logged now, and how many were left out before.
func (q *quiet) allow(now time.Time) (ok bool, suppressed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.began) >= quietInterval {
		q.began, q.lines = now, 0
	}
	if q.lines >= quietLines {
		q.suppressed++
		return false, 0
	}
	q.lines++
	suppressed, q.suppressed = q.suppressed, 0
	return true, suppressed
}

// limitedLog logs a warning that peers can cause, unless there were many of them.
func (s *Server) limitedLog(message string, values ...any) {
	ok, suppressed := s.quiet.allow(time.Now())
	if !ok {
		return
	}
	if suppressed > 0 {
		values = append(values, "suppressed", suppressed)
	}
	s.Logger.Warn(message, values...)
}
