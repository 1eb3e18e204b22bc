// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// heart sends a PING at intervals, and ends the connection if the peer is silent.
type heart struct {
	conn *Conn

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
	reads   uint64        // of the connection, at the last beat
	asked   time.Time     // the first PING was sent that is unanswered
	silent  time.Duration // the peer has said nothing for so many beats
	number  uint64        // of the last PING
}

// start begins the beats.
func (h *heart) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(h.conn.cfg.PingInterval, h.beat)
}

// stop ends the PINGs.
func (h *heart) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.timer.Stop()
}

// quietAfter is how long a PING may be unanswered until the peer counts as quiet. It is more
// than the round trip of most paths, and much less than a dial may take.
const quietAfter = 250 * time.Millisecond

// Quiet reports whether the peer has said nothing since a PING that was sent quietAfter ago
// or earlier. So silence shows after PingInterval and quietAfter at the latest,
// long before it ends the connection. Behind a longer round trip each PING makes it true for
// a while.
func (c *Conn) Quiet() bool {
	h := &c.heart
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.number > 0 && c.wire.Reads() == h.reads && time.Since(h.asked) >= quietAfter
}

// beat sends a PING, or ends the connection. Silence is counted in beats: while the process
// itself stands still, no time passes.
func (h *heart) beat() {
	c := h.conn
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return
	}
	if reads := c.wire.Reads(); reads != h.reads || h.number == 0 {
		h.reads, h.silent, h.asked = reads, 0, time.Now()
	} else if h.silent += c.cfg.PingInterval; h.silent >= c.cfg.PingTimeout {
		h.mu.Unlock()
		c.wire.Fail(fmt.Errorf("%w: no answer to a PING within %v", ErrSilent, c.cfg.PingTimeout))
		return
	}
	h.number++
	var payload [8]byte
	binary.BigEndian.PutUint64(payload[:], h.number)
	h.timer.Reset(c.cfg.PingInterval)
	h.mu.Unlock()
	c.wire.Ping(payload)
	c.refusals.sweep()
	c.adapt()
	c.checkSettings(settingsTimeout)
}
