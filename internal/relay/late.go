// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// The pipeline is an estimate: gRPC between server and agent lets the part that
// it contributes grow with the bandwidth that it has seen, from 64 KiB to 16 MiB.
// How much too long the others wait is therefore measured as well, where it can
// be: at the connections whose targets are known to answer at once.
const (
	// tolerance is how much later than usual an answer may come before the
	// connections that are received at their apps' pace are received at full
	// speed, until it is here.
	tolerance = 150 * time.Millisecond
	// excuse is how many bytes may be received between a question and its
	// answer. What comes behind them was not held up in the pipeline: its
	// target is slow.
	excuse = 4 << 20
	// lookInterval is the least time between two looks at who waits.
	lookInterval = 5 * time.Millisecond
	// regular is how many answers tell what is usual for a connection.
	regular = 8
)

// exchange is what a Pacer knows of the questions and answers of one
// connection. A question is the first thing that an app sends after its target
// has sent something, and the answer is what the target sends next.
//
// All fields are under Pacer.mu.
type exchange struct {
	open    bool
	over    bool // nothing will be received any more
	asked   time.Time
	at      int64 // what Pacer.total was then
	clean   bool  // nothing was paced then
	listed  bool
	answers int
	// As RFC 6298 estimates a round trip and its variation.
	usual, variation time.Duration
}

// ask notes that x's app sends something. Call it before the Send.
func (p *Pacer) ask(x *exchange, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.open || x.over {
		return
	}
	x.open, x.asked, x.at, x.clean = true, now, p.total.Load(), p.paced.Load() == 0
	if !x.clean && x.answers >= regular {
		p.list(x)
	}
}

// answer notes that x's target has sent something.
func (p *Pacer) answer(x *exchange, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !x.open {
		return
	}
	p.forget(x)
	if !x.clean || p.paced.Load() != 0 {
		return // not what is usual
	}
	took := now.Sub(x.asked)
	if x.answers == 0 {
		x.usual, x.variation = took, took/2
	} else {
		x.variation += ((took - x.usual).Abs() - x.variation) / 4
		x.usual += (took - x.usual) / 8
	}
	x.answers = min(x.answers+1, regular)
}

// forget drops x's question, if it has one. The caller holds mu.
func (p *Pacer) forget(x *exchange) {
	x.open = false
	if x.listed {
		x.listed = false
		delete(p.waiting, x)
	}
}

// end drops x's question for good: its app may go on asking.
func (p *Pacer) end(x *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(x)
	x.over = true
}

// lateness is what a Pacer knows of questions that wait for their answers.
type lateness struct {
	waiting map[*exchange]struct{} // those that were asked while somebody was paced
	looked  time.Time              // when late last looked at them
	wasLate bool                   // and what it saw
}

func (l *lateness) list(x *exchange) {
	if l.waiting == nil {
		l.waiting = map[*exchange]struct{}{}
	}
	x.listed = true
	l.waiting[x] = struct{}{}
}

// late reports whether an answer is late; total is Pacer.total.
func (l *lateness) late(now time.Time, total int64) bool {
	if now.Sub(l.looked) < lookInterval {
		return l.wasLate
	}
	l.looked, l.wasLate = now, false
	for x := range l.waiting {
		if total-x.at < excuse && now.Sub(x.asked) > x.usual+4*x.variation+tolerance {
			l.wasLate = true
			break
		}
	}
	return l.wasLate
}
