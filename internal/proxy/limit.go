// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// DefaultMaxConnections is the most open connections where neither
	// --max-connections nor the descriptors say less.
	DefaultMaxConnections = 16384
	// reservedFiles are the descriptors for everything but connections:
	// listeners, HealthConnections, the servers' own connections, name lookups,
	// probes, looks at apps' sockets, dials that were given up, and those
	// connections that are accepted only to be reset.
	reservedFiles = 192
	// healthConnections are those among them that the health address may use.
	healthConnections = 64
)

// HealthConnections returns how many connections the health address may have where
// the process may have so many files (RLIMIT_NOFILE, getrlimit(2)): 64, or a third
// of what ConnectionLimit leaves where that is less. At least one.
func HealthConnections(files uint64) int {
	return int(max(1, min(healthConnections, reserved(files)/3)))
}

// reserved returns how many of so many files are not for connections.
func reserved(files uint64) uint64 { return min(reservedFiles, files/4) }

// ConnectionLimit returns how many connections may be open where the process may
// have so many files (RLIMIT_NOFILE, getrlimit(2)) and each connection takes
// perConnection of them. asked is what was asked for, 0 for the default.
// Descriptors that are needed and not there fail in worse ways than a limit, so
// the limit is never more than they allow; short reports that it is less than
// was asked for.
func ConnectionLimit(asked int, files uint64, perConnection int) (limit int, short bool) {
	if asked == 0 {
		asked = DefaultMaxConnections
	}
	files -= reserved(files)
	if allowed := max(1, files/uint64(perConnection)); allowed < uint64(asked) {
		return int(allowed), true
	}
	return asked, false
}

// connectionLimit bounds the open connections.
type connectionLimit struct {
	max  int64
	open atomic.Int64
}

// enter reports whether there is room for one more connection, which then has
// to leave.
func (l *connectionLimit) enter() bool {
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

func (l *connectionLimit) leave() { l.open.Add(-1) }

// tooMany resets a connection for which there is no room, and counts it. A line
// for each would be a flood at the worst time.
func (p *Proxy) tooMany(app *net.TCPConn) {
	p.metrics.connections.inc(ResultRefused)
	p.metrics.failures.inc(tunnel.ReasonMaxConnections)
	_ = relay.Reset(app)
	if refused, due := p.crowded.add(time.Now()); due {
		p.log.Warn("connections not made", "reason", string(tunnel.ReasonMaxConnections), "refused", refused,
			"error", fmt.Sprintf("%d connections are open, and no more are allowed: raise --max-connections, and where a warning at the start says so the limit of open files or memory, or find the app that does not close its own", p.connections.max))
	}
}

// complaintInterval is the least time between two log lines about the same.
const complaintInterval = 10 * time.Second

// complaint is something that may happen often and should be told now and then.
// The zero value is ready, and safe for concurrent use.
type complaint struct {
	count atomic.Int64              // since it was last told
	told  atomic.Pointer[time.Time] // when; nil before the first time
}

// add counts once more. Where it is time to tell of it, it returns how often it
// has happened since it was told the last time.
func (c *complaint) add(now time.Time) (times int64, due bool) {
	c.count.Add(1)
	told := c.told.Load()
	if told != nil && now.Sub(*told) < complaintInterval {
		return 0, false
	}
	if due := now; !c.told.CompareAndSwap(told, &due) {
		return 0, false // another goroutine tells of it
	}
	return c.count.Swap(0), true
}
