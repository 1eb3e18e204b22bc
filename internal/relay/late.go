// SPDX-License-Identifier: Apache-2.0

package relay

import "time"

// pipelineBytes is an estimate: gRPC between server and agent lets its own part grow
// with the measured bandwidth, from 64 KiB to 16 MiB. So the delay of other connections
// is also measured, if it can be: on connections whose targets usually answer at once.
const (
	// answerTolerance is how much later than usual an answer may come. If it is later,
	// all connections are received at full speed until it arrives.
	answerTolerance = 150 * time.Millisecond
	// maxBytesBeforeAnswer is how many bytes may be received between a question and its
	// answer. If more bytes than this arrive first, the target is slow and our pacing
	// is not the cause.
	maxBytesBeforeAnswer = 4 << 20
	// lateCheckInterval is the minimum time between two checks for late answers.
	lateCheckInterval = 5 * time.Millisecond
	// minAnswers is how many answers a connection needs before its usual delay is
	// known.
	minAnswers = 8
)

// exchange is what a Pacer knows of the questions and answers of one connection. A
// question is the first thing that an app sends after its target has sent something.
// The answer is what the target sends next.
//
// All fields are guarded by Pacer.mu.
type exchange struct {
	pending, inWaiting bool
	ended              bool // nothing more will be received
	unpaced            bool // no connection was paced when it was asked
	answers            int32
	asked              time.Time
	totalAtQuestion    int64 // Pacer.total when it was asked
	// Smoothed as RFC 6298 estimates the round-trip time and its variation.
	usualDelay, delayVariation time.Duration
}

// ask notes that x's app sends something. Call it before Send.
func (p *Pacer) ask(x *exchange, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if x.pending || x.ended {
		return
	}
	x.pending, x.asked, x.totalAtQuestion, x.unpaced = true, now, p.total.Load(), p.paced.Load() == 0
	if !x.unpaced && x.answers >= minAnswers {
		p.addWaiting(x)
	}
}

// answer notes that x's target has sent something.
func (p *Pacer) answer(x *exchange, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !x.pending {
		return
	}
	p.forget(x)
	if !x.unpaced || p.paced.Load() != 0 {
		return // pacing may have delayed this answer
	}
	took := now.Sub(x.asked)
	if x.answers == 0 {
		x.usualDelay, x.delayVariation = took, took/2
	} else {
		x.delayVariation += ((took - x.usualDelay).Abs() - x.delayVariation) / 4
		x.usualDelay += (took - x.usualDelay) / 8
	}
	x.answers = min(x.answers+1, minAnswers)
}

// forget drops x's question, if it has one. The caller holds mu.
func (p *Pacer) forget(x *exchange) {
	x.pending = false
	if x.inWaiting {
		x.inWaiting = false
		delete(p.waiting, x)
	}
}

// end drops x's question, and ignores later ones, which the app may still send.
func (p *Pacer) end(x *exchange) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(x)
	x.ended = true
}

// lateAnswers is what a Pacer knows of questions without an answer.
type lateAnswers struct {
	waiting map[*exchange]struct{} // asked while a connection was paced
	checked time.Time              // time of the last check
	wasLate bool                   // its result
}

func (l *lateAnswers) addWaiting(x *exchange) {
	if l.waiting == nil {
		l.waiting = map[*exchange]struct{}{}
	}
	x.inWaiting = true
	l.waiting[x] = struct{}{}
}

// late reports whether an answer is late. total is Pacer.total.
func (l *lateAnswers) late(now time.Time, total int64) bool {
	if now.Sub(l.checked) < lateCheckInterval {
		return l.wasLate
	}
	l.checked, l.wasLate = now, false
	for x := range l.waiting {
		if total-x.totalAtQuestion < maxBytesBeforeAnswer && now.Sub(x.asked) > x.usualDelay+4*x.delayVariation+answerTolerance {
			l.wasLate = true
			break
		}
	}
	return l.wasLate
}
