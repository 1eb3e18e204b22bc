// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pipeline is how many bytes lie between the targets and us in the parts of
	// the way that all connections of a proxy-server share: 150 packets of 4 KiB
	// that the server queues for each agent, and the flow control windows
	// around them. What another connection receives waits until as much has
	// been received. (Measured: one stream received at 10, 5 and 2 MB/s gives
	// the others a p99 of 86, 169 and 396 ms.)
	pipeline = 850 << 10
	// budget is for how long a pipeline's worth of bytes may be held up by
	// connections that are received at their apps' pace. What passes through
	// it at full speed takes 20 ms more.
	budget = 180 * time.Millisecond
	// nap is how long a wait may last until it is looked again whether others
	// have waited for too long.
	nap = 20 * time.Millisecond
)

// Pacer is the budget of waiting that all connections through one proxy-server
// share. The server serves an agent's connections from one loop: while one of
// them is not received, all of them wait. The zero value is ready.
//
// Time counts while one of them, or several at once, wait. It counts for as
// long as the bytes that were received since are less than a pipeline.
type Pacer struct {
	paced atomic.Int64 // connections that are received at their apps' pace
	total atomic.Int64 // bytes received by all connections

	mu      sync.Mutex
	holding int       // how many wait now
	spent   time.Time // up to when their waiting is in ledger
	ledger  ledger
	lateness
}

// slow counts one more connection that is received at its app's pace.
func (p *Pacer) slow() { p.paced.Add(1) }

// fast counts one less.
func (p *Pacer) fast() { p.paced.Add(-1) }

// received counts n bytes.
func (p *Pacer) received(n int) { p.total.Add(int64(n)) }

// hold begins a wait, unless the budget is spent or others have waited too long
// for an answer. It returns how long the wait may be; release ends it.
func (p *Pacer) hold(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := budget - p.spend(now)
	if left <= 0 || p.late(now, p.total.Load()) {
		return 0
	}
	p.holding++
	return min(left, nap)
}

// release ends a wait.
func (p *Pacer) release(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spend(now)
	p.holding--
}

// spend enters what was waited since the last time, and returns how much of the
// budget is used. The caller holds mu.
func (p *Pacer) spend(now time.Time) time.Duration {
	p.ledger.advance(p.total.Load())
	if p.holding > 0 {
		p.ledger.add(now.Sub(p.spent))
	}
	p.spent = now
	return p.ledger.sum
}

// ledger adds up time that was spent while the last pipeline's worth of bytes
// was received. It forgets in steps.
type ledger struct {
	slots [16]time.Duration
	slot  int64 // the current one, counted from the first byte on
	sum   time.Duration
}

// advance forgets what lies a pipeline behind total, in bytes.
func (l *ledger) advance(total int64) {
	n := int64(len(l.slots))
	now := total / (pipeline / n)
	for l.slot = max(l.slot, now-n); l.slot < now; {
		l.slot++
		l.sum -= l.slots[l.slot%n]
		l.slots[l.slot%n] = 0
	}
}

func (l *ledger) add(d time.Duration) {
	l.slots[l.slot%int64(len(l.slots))] += d
	l.sum += d
}
