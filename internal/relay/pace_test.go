// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"math/rand/v2"
	"testing"
	"time"
)

// waitSpan is a wait of one connection. It began after that many received bytes.
type waitSpan struct {
	at         int64
	began, end time.Time
}

// union returns for how long at least one of the spans lasted that began within [from,
// to).
func union(spells []waitSpan, from, to int64) (d time.Duration) {
	var until time.Time
	for _, s := range spells { // in the order of their beginnings
		if s.at < from || s.at >= to {
			continue
		}
		if s.began.Before(until) {
			s.began = until
		}
		if s.end.After(s.began) {
			d += s.end.Sub(s.began)
			until = s.end
		}
	}
	return d
}

// However many connections are received at their apps' rate, and however unevenly:
// pipelineBytes are never delayed by more than waitBudget.
func TestAPipelineIsHeldUpForTheBudgetAtMost(t *testing.T) {
	const piece = 4 << 10
	for _, connections := range []int{1, 2, 4, 16} {
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, uint64(connections)))
			p := new(Pacer)
			now := time.Unix(1e9, 0)
			var spells []waitSpan
			for p.total.Load() < 4*pipelineBytes {
				// Some connections wait at the same time, each for a part of what it
				// may.
				var began, last []waitSpan
				for range 1 + random.IntN(connections) {
					if wait := p.beginWait(now); wait > 0 {
						began = append(began, waitSpan{at: p.total.Load(), began: now, end: now.Add(wait)})
					}
					now = now.Add(time.Duration(random.IntN(1000)) * time.Microsecond)
				}
				for _, s := range began {
					now = maxTime(now, s.began.Add(time.Duration(random.Int64N(int64(s.end.Sub(s.began))+1))))
					p.endWait(now)
					s.end = now
					last = append(last, s)
				}
				spells = append(spells, last...)
				p.received(piece * (1 + random.IntN(8)))
			}
			const grain = pipelineBytes / 16 // of waitSum
			for from := int64(0); from < 3*pipelineBytes; from += 64 << 10 {
				// A wait may last up to maxWait longer than what was left, if others
				// began theirs at the same time.
				if d := union(spells, from, from+pipelineBytes-grain); d > waitBudget+2*maxWait {
					t.Fatalf("%d connections, seed %d: behind byte %d the others waited %s for a pipeline, want %s at most", connections, seed, from, d, waitBudget)
				}
			}
		}
	}
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// The budget is used: the relay waits for an app if its rate delays others little
// enough.
func TestTheBudgetComesBackWithWhatIsReceived(t *testing.T) {
	p := new(Pacer)
	now := time.Unix(1e9, 0)
	spend := func() (d time.Duration) {
		for {
			wait := p.beginWait(now)
			if wait == 0 {
				return d
			}
			now = now.Add(wait)
			d += wait
			p.endWait(now)
		}
	}
	if d := spend(); d != waitBudget {
		t.Errorf("the first wait was for %s, want %s", d, waitBudget)
	}
	if d := spend(); d != 0 {
		t.Errorf("another wait was for %s, though nothing was received", d)
	}
	p.received(pipelineBytes + pipelineBytes/16)
	if d := spend(); d != waitBudget {
		t.Errorf("after a pipeline the wait was for %s, want %s", d, waitBudget)
	}
	p.received(1 << 40) // far more than waitSum covers
	if d := spend(); d != waitBudget {
		t.Errorf("after a terabyte the wait was for %s, want %s", d, waitBudget)
	}
}

// regularExchange returns an exchange with a known usual delay of its answers.
func regularExchange(p *Pacer, now *time.Time, usual time.Duration) *exchange {
	x := new(exchange)
	for range 4 * minAnswers {
		p.ask(x, *now)
		*now = now.Add(usual)
		p.answer(x, *now)
	}
	return x
}

// If the pipeline is longer than estimated, a late answer ends all waits. A target that
// is slow by itself does not.
func TestALateAnswerEndsAllWaits(t *testing.T) {
	const usual = 10 * time.Millisecond
	tests := []struct {
		name     string
		after    time.Duration
		received int
		answered bool
		late     bool
	}{
		{name: "not late yet", after: usual + answerTolerance - 2*lateCheckInterval},
		{name: "late", after: usual + answerTolerance + 2*usual, late: true},
		{name: "late, and most of what was in the way was received", after: usual + answerTolerance + 2*usual, received: maxBytesBeforeAnswer - 1, late: true},
		{name: "late, but not because of what was in the way", after: time.Hour, received: maxBytesBeforeAnswer},
		{name: "answered", after: time.Hour, answered: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := new(Pacer)
			now := time.Unix(1e9, 0)
			x := regularExchange(p, &now, usual)
			p.addPaced()
			p.ask(x, now)
			now = now.Add(tt.after)
			p.received(tt.received)
			if tt.answered {
				p.answer(x, now)
			}
			if may := p.beginWait(now) > 0; may == tt.late {
				t.Errorf("a connection may wait for its app: %t", may)
			}
			p.end(x)
			p.ask(x, now) // without an answer
			if p.beginWait(now.Add(lateCheckInterval)) == 0 || len(p.waiting) != 0 {
				t.Error("nobody waits for an answer any more, and still it counts")
			}
		})
	}
}

// A late answer does not count if the usual delay is unknown, irregular, or was
// measured while others were slow.
func TestOnlyRegularAnswersCanBeLate(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := new(Pacer)
	p.addPaced()
	young := new(exchange)
	for range 4 * minAnswers { // all of them while a connection was paced
		p.ask(young, now)
		now = now.Add(time.Millisecond)
		p.answer(young, now)
	}
	p.ask(young, now)
	if p.beginWait(now.Add(time.Minute)) == 0 {
		t.Error("a connection of which nothing is known counts as late")
	}
	p.removePaced()

	p = new(Pacer)
	irregular := new(exchange)
	for i := range 4 * minAnswers {
		p.ask(irregular, now)
		now = now.Add(time.Duration(i%2) * 2 * time.Second)
		p.answer(irregular, now)
	}
	p.addPaced()
	p.ask(irregular, now)
	if p.beginWait(now.Add(3*time.Second)) == 0 {
		t.Error("an answer that takes up to two seconds counts as late after three")
	}
}
