// SPDX-License-Identifier: Apache-2.0

package relay

import (
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
	// passage is how long the pipeline may take to be received, at the least.
	passage = 170 * time.Millisecond
	// pause is how long a connection may wait for its app without receiving
	// anything. With passage it makes the 200 ms that connections received at
	// their apps' pace may add, all together, for the others of their server.
	pause = 30 * time.Millisecond
)

// Pacer is the budget of waiting that all connections through one proxy-server
// share. The server serves an agent's connections from one loop: while one of
// them is not received, all of them wait. The zero value is ready.
type Pacer struct {
	paced atomic.Int64 // connections that are received at their apps' pace
}

// pace is one connection's part of the budget. Connections that are received at
// their apps' pace wait at the same time, and each has its part of what lies in
// the pipeline: so each has to receive pipeline / paced bytes in a passage.
type pace struct {
	pacer  *Pacer
	paced  bool
	credit time.Duration // how long it may wait for its app
}

// slow begins, or goes on, to receive at the app's pace.
func (p *pace) slow() {
	if !p.paced {
		p.paced, p.credit = true, pause
		p.pacer.paced.Add(1)
	}
}

// fast ends it.
func (p *pace) fast() {
	if p.paced {
		p.paced = false
		p.pacer.paced.Add(-1)
	}
}

// waited takes from the credit what was spent.
func (p *pace) waited(d time.Duration) { p.credit = max(0, p.credit-d) }

// received adds to the credit what n bytes earn.
func (p *pace) received(n int) {
	if p.paced {
		earned := time.Duration(n) * passage / pipeline * time.Duration(p.pacer.paced.Load())
		p.credit = min(pause, p.credit+earned)
	}
}
