// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"math/rand/v2"
	"testing"
	"time"
)

// spell is a wait of one connection, which began behind so many bytes.
type spell struct {
	at         int64
	began, end time.Time
}

// union returns for how long at least one of the spells that began behind
// [from, to) lasted.
func union(spells []spell, from, to int64) (d time.Duration) {
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

// However many connections are received at their apps' pace, and however
// unevenly, a pipeline of bytes is never held up for longer than the budget.
func TestAPipelineIsHeldUpForTheBudgetAtMost(t *testing.T) {
	const piece = 4 << 10
	for _, connections := range []int{1, 2, 4, 16} {
		for seed := range uint64(20) {
			random := rand.New(rand.NewPCG(seed, uint64(connections)))
			p := new(Pacer)
			now := time.Unix(1e9, 0)
			var spells []spell
			for p.total.Load() < 4*pipeline {
				// Some of them wait, for a part of what they may, side by side.
				var began, last []spell
				for range 1 + random.IntN(connections) {
					if wait := p.hold(now); wait > 0 {
						began = append(began, spell{at: p.total.Load(), began: now, end: now.Add(wait)})
					}
					now = now.Add(time.Duration(random.IntN(1000)) * time.Microsecond)
				}
				for _, s := range began {
					now = maxTime(now, s.began.Add(time.Duration(random.Int64N(int64(s.end.Sub(s.began))+1))))
					p.release(now)
					s.end = now
					last = append(last, s)
				}
				spells = append(spells, last...)
				p.received(piece * (1 + random.IntN(8)))
			}
			const grain = pipeline / 16 // of the ledger
			for from := int64(0); from < 3*pipeline; from += 64 << 10 {
				// A wait may take a nap more than what was left when others
				// began theirs at the same time.
				if d := union(spells, from, from+pipeline-grain); d > budget+2*nap {
					t.Fatalf("%d connections, seed %d: behind byte %d the others waited %s for a pipeline, want %s at most", connections, seed, from, d, budget)
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

// The budget is there to be used: an app that reads at a pace that others can
// bear is waited for.
func TestTheBudgetComesBackWithWhatIsReceived(t *testing.T) {
	p := new(Pacer)
	now := time.Unix(1e9, 0)
	spend := func() (d time.Duration) {
		for {
			wait := p.hold(now)
			if wait == 0 {
				return d
			}
			now = now.Add(wait)
			d += wait
			p.release(now)
		}
	}
	if d := spend(); d != budget {
		t.Errorf("the first wait was for %s, want %s", d, budget)
	}
	if d := spend(); d != 0 {
		t.Errorf("another wait was for %s, though nothing was received", d)
	}
	p.received(pipeline + pipeline/16)
	if d := spend(); d != budget {
		t.Errorf("after a pipeline the wait was for %s, want %s", d, budget)
	}
	p.received(1 << 40) // far more than the ledger reaches back
	if d := spend(); d != budget {
		t.Errorf("after a terabyte the wait was for %s, want %s", d, budget)
	}
}

// asked makes an exchange of whose answers it is known that they take usual.
func asked(p *Pacer, now *time.Time, usual time.Duration) *exchange {
	x := new(exchange)
	for range 4 * regular {
		p.ask(x, *now)
		*now = now.Add(usual)
		p.answer(x, *now)
	}
	return x
}

// Where the pipeline is longer than thought, those who wait for an answer that
// is late end everybody's waiting; a target that is slow by itself does not.
func TestNobodyIsWaitedForWhileAnAnswerIsLate(t *testing.T) {
	const usual = 10 * time.Millisecond
	tests := []struct {
		name     string
		after    time.Duration
		received int
		answered bool
		late     bool
	}{
		{name: "not late yet", after: usual + tolerance - 2*lookInterval},
		{name: "late", after: usual + tolerance + 2*usual, late: true},
		{name: "late, and most of what was in the way was received", after: usual + tolerance + 2*usual, received: excuse - 1, late: true},
		{name: "late, but not because of what was in the way", after: time.Hour, received: excuse},
		{name: "answered", after: time.Hour, answered: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := new(Pacer)
			now := time.Unix(1e9, 0)
			x := asked(p, &now, usual)
			p.slow()
			p.ask(x, now)
			now = now.Add(tt.after)
			p.received(tt.received)
			if tt.answered {
				p.answer(x, now)
			}
			if may := p.hold(now) > 0; may == tt.late {
				t.Errorf("a connection may wait for its app: %t", may)
			}
			p.end(x)
			p.ask(x, now) // to nobody
			if p.hold(now.Add(lookInterval)) == 0 || len(p.waiting) != 0 {
				t.Error("nobody waits for an answer any more, and still it counts")
			}
		})
	}
}

// What is unknown, or irregular, or learned while others were slow, says
// nothing about the pipeline.
func TestOnlyRegularAnswersCanBeLate(t *testing.T) {
	now := time.Unix(1e9, 0)
	p := new(Pacer)
	p.slow()
	young := new(exchange)
	for range 4 * regular { // all of them while somebody was paced
		p.ask(young, now)
		now = now.Add(time.Millisecond)
		p.answer(young, now)
	}
	p.ask(young, now)
	if p.hold(now.Add(time.Minute)) == 0 {
		t.Error("a connection of which nothing is known counts as late")
	}
	p.fast()

	p = new(Pacer)
	irregular := new(exchange)
	for i := range 4 * regular {
		p.ask(irregular, now)
		now = now.Add(time.Duration(i%2) * 2 * time.Second)
		p.answer(irregular, now)
	}
	p.slow()
	p.ask(irregular, now)
	if p.hold(now.Add(3*time.Second)) == 0 {
		t.Error("an answer that takes up to two seconds counts as late after three")
	}
}
