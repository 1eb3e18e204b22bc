// SPDX-License-Identifier: Apache-2.0

package h2connect

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"
)

// heart sends a PING at intervals, and ends the connection if the peer is silent. Its
// answers also measure the round trip, by which windows grow.
type heart struct {
	conn *Conn

	mu      sync.Mutex
	timer   *time.Timer
	stopped bool
	waiting bool          // a PING was sent, and its time has not ended yet
	reads   uint64        // of the connection, when it was sent
	number  uint64        // of that PING
	sent    time.Time     // when it was sent
	trip    time.Duration // the shortest round trip lately; 0 before the first
}

// start sends the first PING.
func (h *heart) start() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer = time.AfterFunc(0, h.beat)
}

// stop ends the PINGs.
func (h *heart) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.timer.Stop()
}

// beat sends a PING, or ends the time for the answer to one.
func (h *heart) beat() {
	c := h.conn
	h.mu.Lock()
	if h.stopped {
		h.mu.Unlock()
		return
	}
	if h.waiting && c.wire.Reads() == h.reads {
		h.mu.Unlock()
		c.wire.Fail(fmt.Errorf("%w: no answer to a PING within %v", ErrSilent, c.cfg.PingTimeout))
		return
	}
	if rest := c.cfg.PingInterval - c.cfg.PingTimeout; h.waiting && rest > 0 {
		h.waiting = false
		h.timer.Reset(rest)
		h.mu.Unlock()
		return
	}
	h.waiting = true
	h.number++
	var payload [8]byte
	binary.BigEndian.PutUint64(payload[:], h.number)
	h.reads, h.sent = c.wire.Reads(), time.Now()
	h.timer.Reset(c.cfg.PingTimeout)
	h.mu.Unlock()
	c.wire.Ping(payload)
	c.refusals.sweep()
	c.adapt()
	c.checkSettings(settingsTimeout)
}

// answered notes the answer to a PING.
func (h *heart) answered(payload [8]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sent.IsZero() || binary.BigEndian.Uint64(payload[:]) != h.number {
		return
	}
	trip := max(time.Since(h.sent), 1)
	h.sent = time.Time{}
	// A path can become longer, so a short round trip counts less as time goes on.
	if longer := h.trip + h.trip/8; h.trip == 0 || trip < longer {
		h.trip = trip
	} else {
		h.trip = longer
	}
	h.conn.trip.Store(int64(h.trip))
}
