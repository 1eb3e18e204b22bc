// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/status"
)

const (
	// historyInterval is the time of one point, and historyPoints how many there are: 15
	// minutes.
	historyInterval = 5 * time.Second
	historyPoints   = 180
)

// history has what happened in the last minutes. Its memory is fixed. The zero value is
// ready to use.
type history struct {
	sent, received atomic.Int64 // bytes since the start
	failed         atomic.Int64 // connections that were not made, since the start
	dials          latencies    // since the last point

	mu     sync.Mutex
	ring   [historyPoints]status.Point
	points int // since the start
	before struct {
		sent, received, failed int64
		at                     time.Time
	}
}

// dialled counts a dial that has succeeded.
func (h *history) dialled(took time.Duration) { h.dials.add(took) }

// start begins the first interval.
func (h *history) start(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.before.at = now
}

// point ends an interval at now.
func (h *history) point(now time.Time, held int64, open int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	seconds := now.Sub(h.before.at).Seconds()
	if seconds <= 0 {
		return
	}
	sent, received, failed := h.sent.Load(), h.received.Load(), h.failed.Load()
	dials := h.dials.take()
	h.ring[h.points%historyPoints] = status.Point{
		Time:      now,
		SentBytes: float64(sent-h.before.sent) / seconds, ReceivedBytes: float64(received-h.before.received) / seconds,
		Dials: dials.count(), Failed: int(failed - h.before.failed),
		DialP50: dials.quantile(0.5).Seconds(), DialP99: dials.quantile(0.99).Seconds(),
		HeldBytes: held, Open: open,
	}
	h.points++
	h.before.sent, h.before.received, h.before.failed, h.before.at = sent, received, failed, now
}

// History returns the last 15 minutes.
func (p *Proxy) History() status.History {
	h := &p.history
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(h.points, historyPoints)
	points := make([]status.Point, 0, n)
	for i := h.points - n; i < h.points; i++ {
		points = append(points, h.ring[i%historyPoints])
	}
	return status.History{IntervalSeconds: historyInterval.Seconds(), Points: points}
}

const (
	// latencyUnit is the finest duration that latencies tell apart.
	latencyUnit = 32 * time.Microsecond
	// latencyBits are how many bits of a duration count, the first of them included. So a
	// bucket is at most an eighth wider than its lower end.
	latencyBits = 4
	// latencyBuckets reach to 2^20 units, which is half a minute.
	latencyBuckets = (20 - latencyBits + 2) << (latencyBits - 1)
)

// latencies counts durations in buckets that grow with them.
type latencies [latencyBuckets]atomic.Uint32

// latencyCounts are the counts of an interval.
type latencyCounts [latencyBuckets]uint32

// bucketOf returns the bucket of d.
func bucketOf(d time.Duration) int {
	units := uint64(max(0, d) / latencyUnit)
	shift := max(0, bits.Len64(units)-latencyBits)
	return min(shift<<(latencyBits-1)+int(units>>shift), latencyBuckets-1)
}

// middleOf returns the middle of a bucket.
func middleOf(bucket int) time.Duration {
	const half = 1 << (latencyBits - 1)
	shift := max(0, bucket/half-1)
	low := uint64(bucket - shift*half)
	return time.Duration(low<<shift)*latencyUnit + time.Duration(1<<shift)*latencyUnit/2
}

func (l *latencies) add(d time.Duration) { l[bucketOf(d)].Add(1) }

// take returns the counts, and begins again.
func (l *latencies) take() (counts latencyCounts) {
	for i := range l {
		counts[i] = l[i].Swap(0)
	}
	return counts
}

func (c *latencyCounts) count() (n int) {
	for _, in := range c {
		n += int(in)
	}
	return n
}

// quantile returns the duration that a share q of the counted ones do not exceed, or 0
// if there are none.
func (c *latencyCounts) quantile(q float64) time.Duration {
	left := int(q * float64(c.count()))
	for bucket, in := range c {
		if left < int(in) {
			return middleOf(bucket)
		}
		left -= int(in)
	}
	return 0
}
