// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
)

// registry has the connections that are served now, for people who look at them. The
// zero value is ready to use.
type registry struct {
	mu    sync.Mutex
	last  uint64        // the id of the newest connection
	slots []*connection // nil where none is
	free  []int         // indexes of the nil slots
}

// add adds c, whose source and destination do not change any more. It sets c.id.
func (r *registry) add(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	c.id = r.last
	if n := len(r.free); n > 0 {
		c.slot, r.free = r.free[n-1], r.free[:n-1]
		r.slots[c.slot] = c
		return
	}
	c.slot, r.slots = len(r.slots), append(r.slots, c)
}

// remove removes c.
func (r *registry) remove(c *connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots[c.slot] = nil
	if r.free = append(r.free, c.slot); len(r.free) == len(r.slots) && len(r.slots) > registryBatch {
		r.slots, r.free = nil, nil // gives back the memory of a burst
	}
}

// registryBatch is how many connections are copied while the registry is locked.
const registryBatch = 256

// all returns the connections. One that comes or goes meanwhile may be left out.
func (r *registry) all() iter.Seq[*connection] {
	return func(yield func(*connection) bool) {
		batch := make([]*connection, 0, registryBatch)
		for next := 0; ; next += registryBatch {
			batch = batch[:0]
			r.mu.Lock()
			end := min(next+registryBatch, len(r.slots))
			for i := next; i < end; i++ {
				if c := r.slots[i]; c != nil {
					batch = append(batch, c)
				}
			}
			more := end < len(r.slots)
			r.mu.Unlock()
			for _, c := range batch {
				if !yield(c) {
					return
				}
			}
			if !more {
				return
			}
		}
	}
}

// Connections returns the connections that are served now, without probes.
func (p *Proxy) Connections() iter.Seq[status.Connection] {
	return func(yield func(status.Connection) bool) {
		for c := range p.registry.all() {
			if !yield(c.status(time.Now())) {
				return
			}
		}
	}
}

// status returns what people see of c at now.
func (c *connection) status(now time.Time) status.Connection {
	s := status.Connection{
		ID: c.id, Source: c.source.String(), Destination: c.destination.String(), Accepted: c.accepted, State: status.ConnectionDialling,
		IdleSeconds: now.Sub(c.accepted).Seconds(),
	}
	if !c.relaying.Load() {
		return s
	}
	progress := c.monitor.Progress(now)
	s.State, s.Server, s.Exit, s.DialSeconds = status.ConnectionOpen, c.server, c.exit, c.dialled.Seconds()
	s.DialID, s.ConnectionID = idText(c.ids.Dial), idText(c.ids.Connection)
	s.SentBytes, s.ReceivedBytes, s.HeldBytes = progress.Sent, progress.Received, int64(progress.Held)
	s.IdleSeconds = progress.Idle.Seconds()
	return s
}

// idText returns an id as text, because JSON readers round numbers of more than 53 bits.
func idText(id int64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatInt(id, 10)
}
