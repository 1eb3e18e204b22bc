// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// pipelineBytes is how many bytes are in the queues between the targets and us that
	// all connections of a proxy-server share. These are 150 packets of 4 KiB that the
	// server queues for each agent, and the flow control windows around them. Bytes for
	// another connection wait until as many bytes have been received. (Measured:
	// receiving one stream at 10, 5 and 2 MB/s gives the others a p99 of 86, 169 and
	// 396 ms.)
	pipelineBytes = 850 << 10
	// waitBudget is how long slow connections may stop receiving, in the time in which
	// pipelineBytes are received. At full speed the pipeline itself takes 20 ms more.
	waitBudget = 180 * time.Millisecond
	// maxWait is the longest single wait. After it the Pacer checks again whether
	// others have waited for too long.
	maxWait = 20 * time.Millisecond
)

// Pacer limits how long connections through one proxy-server may stop receiving. The
// server serves an agent's connections in one loop: while one of them is not received,
// all of them wait. All connections of the server share the Pacer. The zero value is
// ready to use.
//
// Time counts while at least one connection waits. It counts until pipelineBytes have
// been received after it.
type Pacer struct {
	paced atomic.Int64 // connections that are received at their apps' rate
	total atomic.Int64 // bytes received by all connections

	mu           sync.Mutex
	waiters      int       // connections that wait now
	countedUntil time.Time // up to when their wait is in waitSum
	waitSum      waitSum
	lateAnswers
}

// addPaced counts a connection that is received at its app's rate.
func (p *Pacer) addPaced() { p.paced.Add(1) }

// removePaced counts it no longer.
func (p *Pacer) removePaced() { p.paced.Add(-1) }

// received counts n received bytes.
func (p *Pacer) received(n int) { p.total.Add(int64(n)) }

// beginWait begins a wait, unless the budget is spent or an answer for another
// connection is late. It returns how long the wait may last; 0 means none. endWait ends
// it.
func (p *Pacer) beginWait(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := waitBudget - p.countWaits(now)
	if left <= 0 || p.late(now, p.total.Load()) {
		return 0
	}
	p.waiters++
	return min(left, maxWait)
}

// endWait ends a wait.
func (p *Pacer) endWait(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.countWaits(now)
	p.waiters--
}

// countWaits counts the time waited since the last call. It returns how much of the
// budget is used. The caller holds mu.
func (p *Pacer) countWaits(now time.Time) time.Duration {
	p.waitSum.advance(p.total.Load())
	if p.waiters > 0 {
		p.waitSum.add(now.Sub(p.countedUntil))
	}
	p.countedUntil = now
	return p.waitSum.sum
}

// waitSum sums the time that was waited while the last pipelineBytes were received.
// Older time leaves the sum in 16 steps.
type waitSum struct {
	slots [16]time.Duration
	slot  int64 // the current one, counted from the first byte on
	sum   time.Duration
}

// advance forgets what was waited more than pipelineBytes before total.
func (l *waitSum) advance(total int64) {
	n := int64(len(l.slots))
	now := total / (pipelineBytes / n)
	for l.slot = max(l.slot, now-n); l.slot < now; {
		l.slot++
		l.sum -= l.slots[l.slot%n]
		l.slots[l.slot%n] = 0
	}
}

func (l *waitSum) add(d time.Duration) {
	l.slots[l.slot%int64(len(l.slots))] += d
	l.sum += d
}
