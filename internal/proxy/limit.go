// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/repetition"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// reservedFiles is the number of descriptors for everything except connections:
	//
	//   - listeners, HealthConnections, AdminConnections and the servers' own connections
	//   - name lookups, probes, and queries of apps' sockets
	//   - dials that were given up
	//   - connections that are accepted only to be reset
	reservedFiles = 192
	// healthConnections is how many of reservedFiles the health address may use.
	healthConnections = 64
)

// HealthConnections returns how many connections the health address may have. files is
// the process's limit of files (RLIMIT_NOFILE, getrlimit(2)). The result is 64, or a
// third of the reserve in ConnectionLimit if that is less, but at least 1.
func HealthConnections(files uint64) int {
	return int(max(1, min(healthConnections, reserved(files)/3)))
}

// AdminConnections returns how many connections the admin address may have. It is half of
// HealthConnections, but at least 1.
func AdminConnections(files uint64) int { return max(1, HealthConnections(files)/2) }

// reserved returns how many of that many files are not for connections.
func reserved(files uint64) uint64 { return min(reservedFiles, files/4) }

// ConnectionLimit returns how many connections may be open. wanted is the requested
// limit, which is positive. files is the process's limit of files (RLIMIT_NOFILE,
// getrlimit(2)), and each connection uses perConnection of them.
//
// A missing descriptor causes worse failures than a limit does. So the limit is never
// more than the files allow. short reports that it is less than requested.
func ConnectionLimit(wanted int, files uint64, perConnection int) (limit int, short bool) {
	files -= reserved(files)
	if allowed := max(1, files/uint64(perConnection)); allowed < uint64(wanted) {
		return int(allowed), true
	}
	return wanted, false
}

// connectionLimit limits the open connections.
type connectionLimit struct {
	max  int64
	open atomic.Int64
}

// acquire reports whether one more connection may be open. If so, the caller must call
// release.
func (l *connectionLimit) acquire() bool {
	for {
		open := l.open.Load()
		if open >= l.max {
			return false
		}
		if l.open.CompareAndSwap(open, open+1) {
			return true
		}
	}
}

func (l *connectionLimit) release() { l.open.Add(-1) }

// tooMany resets a connection beyond the limit, and counts it. It does not log each of
// them, because they come in large numbers.
func (p *Proxy) tooMany(c *connection, app *net.TCPConn) {
	p.metrics.connections.inc(ResultRefused)
	p.metrics.failures.inc(tunnel.ReasonMaxConnections)
	p.history.failed.Add(1)
	_ = relay.Reset(app)
	err := fmt.Errorf("%d connections are open, and no more are allowed: raise %s, and where a warning at the start says so the limit of open files or memory, or find the app that does not close its own", p.connections.max, p.cfg.Names.MaxConnections)
	p.logTogether(p.failures.addLogged(time.Now(), failureKey{status.FailureNotMade, string(tunnel.ReasonMaxConnections), c.destination}, c, err))
	if refused, due := p.tooManyWarning.add(time.Now()); due {
		p.log.Warn("connections not made", "reason", string(tunnel.ReasonMaxConnections), "refused", refused, "error", err)
	}
}

// warningInterval is the minimum time between two log lines about the same event.
const warningInterval = repetition.Interval

// limitedWarning counts an event that may happen often, and limits how often it is
// logged. The zero value is ready to use, and safe for concurrent use.
type limitedWarning struct {
	count      atomic.Int64              // since it was last logged
	lastLogged atomic.Pointer[time.Time] // nil before the first time
}

// add counts the event once. If a log line is due, it returns how often the event has
// happened since the last one.
func (c *limitedWarning) add(now time.Time) (times int64, due bool) {
	c.count.Add(1)
	told := c.lastLogged.Load()
	if told != nil && now.Sub(*told) < warningInterval {
		return 0, false
	}
	if due := now; !c.lastLogged.CompareAndSwap(told, &due) {
		return 0, false // another goroutine logs it
	}
	return c.count.Swap(0), true
}
