// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// excuse is what a connection's time excuses.
type excuse struct {
	reset bool // the leg to a server may have broken
	early bool // an agent may have died: a clean end that came too early
	late  bool // and then the app wrote to what seemed to have closed: RST
	tail  bool // what was sent just before a close may be thrown away
	dial  bool // no server may have been in reach for longer than the budget
}

func (e excuse) or(f excuse) excuse {
	return excuse{e.reset || f.reset, e.early || f.early, e.late || f.late, e.tail || f.tail, e.dial || f.dial}
}

// excuses says what a disturbance can do: to connections that lived when it
// struck, and to those that lived at any time while it went on. See the package
// comment.
func (d Disturbance) excuses() (struck, lasting excuse) {
	switch d.Kind {
	case KillServer, KillServers:
		return excuse{reset: true, tail: true}, excuse{}
	case HideServerFor:
		return excuse{reset: true}, excuse{tail: true}
	case PartPodFor:
		return excuse{reset: true}, excuse{tail: true, dial: true}
	case KillAgent, KillAgents:
		return excuse{early: true, tail: true}, excuse{}
	case Stall:
		// All clocks have gone on. Upstream's TCP_USER_TIMEOUT is 20 s.
		return excuse{reset: true, early: d.For > 3*breaking}, excuse{tail: true, dial: true}
	case FewStreams:
		return excuse{reset: true, tail: true}, excuse{}
	case SwapFiles, SpoilFiles, ClockAhead, ClockBack, PauseTarget:
		return excuse{}, excuse{}
	default:
		return excuse{}, excuse{tail: true}
	}
}

// breaks reports whether a disturbance can break legs to a server.
func (d Disturbance) breaks(server int) bool {
	switch d.Kind {
	case KillServers, PartPodFor, Stall:
		return true
	case KillServer, HideServerFor:
		return d.Index == server
	case FewStreams:
		return server == fewStreams
	default:
		return false
	}
}

// entry is a disturbance in time. What is not yet is zero.
type entry struct {
	Disturbance
	began  time.Time // before anything was done
	struck time.Time // when it was done: processes dead, links cut
	undone time.Time // when it was undone
	ended  time.Time // when nothing was left of it
}

// breaking is how long a leg to a server may be cut without a connection being
// given up for it: see deck.
const breaking = 4 * time.Second

// real is the disturbance as it came to be: on a slow machine a short one may
// have been a long one.
func (e entry) real() Disturbance {
	d, undone := e.Disturbance, e.undone
	if undone.IsZero() {
		undone = time.Now()
	}
	if undone.Sub(e.began) < breaking {
		return d
	}
	switch d.Kind {
	case PartPod:
		d.Kind = PartPodFor
	case HideServer:
		d.Kind = HideServerFor
	case PartShoot:
		// Servers and agents wait for 20 s, and take each other for dead then.
		if undone.Sub(e.began) > 2*breaking {
			d.Kind = KillAgents
		}
	case FreezeServer:
		// Its kernel answers for it, until its buffers are full.
		if undone.Sub(e.began) > 2*breaking {
			d.Kind = HideServerFor
		}
	}
	return d
}

func (e entry) overlaps(from, to time.Time) bool { return overlap(e.began, e.ended, from, to) }

// hit reports whether who lived from from to to was there when it struck.
func (e entry) hit(from, to time.Time) bool { return overlap(e.began, e.struck, from, to) }

// overlap reports whether two spans have a moment in common. The first goes on
// where its end is zero.
func overlap(began, ended, from, to time.Time) bool {
	return !began.After(to) && (ended.IsZero() || !ended.Before(from))
}

// journal tells what went on when. It may be used from several goroutines.
type journal struct {
	mu      sync.Mutex
	entries []*entry
}

// begin notes that d begins, before anything of it is done.
func (j *journal) begin(d Disturbance) *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &entry{Disturbance: d, began: time.Now()}
	j.entries = append(j.entries, e)
	return e
}

// stalled notes that the machine stood still from some time until now.
func (j *journal) stalled(since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	// What had expired meanwhile may be met a moment later.
	j.entries = append(j.entries, &entry{
		Disturbance: Disturbance{Kind: Stall, For: now.Sub(since)},
		began:       since, struck: now, undone: now, ended: now.Add(2 * time.Second),
	})
}

// strike notes that e has been done.
func (j *journal) strike(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.struck = time.Now()
}

// undo notes that e has been undone.
func (j *journal) undo(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.undone = time.Now()
}

// end notes that nothing is left of e.
func (j *journal) end(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.ended = time.Now()
}

// during returns what went on at any time from from to to.
func (j *journal) during(from, to time.Time) []entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []entry
	for _, e := range j.entries {
		if e.overlaps(from, to) {
			found = append(found, *e)
		}
	}
	return found
}

// excuse returns what excused a connection until its end, or until its target's
// side ended where that is later.
func (j *journal) excuse(o outcome, until time.Time) excuse {
	if until.Before(o.ended) {
		until = o.ended
	}
	var x excuse
	for _, e := range j.during(o.began, until) {
		struck, lasting := e.real().excuses()
		x = x.or(lasting)
		if e.hit(o.began, until) {
			struck.late = struck.early && !e.began.After(o.wrote)
			x = x.or(struck)
		}
	}
	return x
}

// broke reports whether something can have broken legs to a server that lived
// in that time.
func (j *journal) broke(server int, from, to time.Time) bool {
	return slices.ContainsFunc(j.during(from, to), func(e entry) bool { return e.real().breaks(server) && e.hit(from, to) })
}

// went reports whether one of some kinds of disturbance went on in that time.
func (j *journal) went(from, to time.Time, kinds ...Kind) bool {
	return slices.ContainsFunc(j.during(from, to), func(e entry) bool { return slices.Contains(kinds, e.real().Kind) })
}

// count returns how many disturbances of each kind there were.
func (j *journal) count() (total int, kinds map[Kind]int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	kinds = map[Kind]int{}
	for _, e := range j.entries {
		kinds[e.Kind]++
	}
	return len(j.entries), kinds
}

// String lists what went on: when it began, had struck, was undone, and over.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, e := range j.entries {
		fmt.Fprintf(&b, "%s  %s  %s  %s  %s\n", e.began.Format(clock), e.struck.Format(clock), e.undone.Format(clock), e.ended.Format(clock), e.Disturbance)
	}
	return b.String()
}
