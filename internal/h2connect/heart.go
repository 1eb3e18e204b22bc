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
	reads   uint64        // of the connection, at the last beat
	silent  time.Duration // the peer has said nothing for so many beats
	number  uint64        // of the last PING
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
		h.reads, h.silent = reads, 0
	} else if h.silent += c.cfg.PingInterval; h.silent >= c.cfg.PingTimeout {
		h.mu.Unlock()
		c.wire.Fail(fmt.Errorf("%w: no answer to a PING within %v", ErrSilent, c.cfg.PingTimeout))
		return
	}
	h.number++
	var payload [8]byte
	binary.BigEndian.PutUint64(payload[:], h.number)
	h.sent = time.Now()
	h.timer.Reset(c.cfg.PingInterval)
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
