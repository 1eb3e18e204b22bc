// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"slices"
	"sync"
	"time"
)

// excuse is what a connection's time excuses.
type excuse struct {
	reset bool // the leg to a server may have broken
	early bool // an agent may have died: a clean end that came too early
	late  bool // and then the app wrote to what seemed to have closed: RST
	tail  bool // what was sent just before a close may be thrown away
}

func (e excuse) or(f excuse) excuse {
	return excuse{e.reset || f.reset, e.early || f.early, e.late || f.late, e.tail || f.tail}
}

// excuses says what a disturbance can do to connections that lived while it
// went on. See the package comment.
func (d Disturbance) excuses() excuse {
	switch d.Kind {
	case KillServer, KillServers, HideServerFor, PartPodFor:
		return excuse{reset: true, tail: true}
	case KillAgent, KillAgents:
		return excuse{early: true, tail: true}
	case SwapFiles, SpoilFiles:
		return excuse{}
	default:
		return excuse{tail: true}
	}
}

// breaks reports whether a disturbance can break legs to a server.
func (d Disturbance) breaks(server int) bool {
	switch d.Kind {
	case KillServers, PartPodFor:
		return true
	case KillServer, HideServerFor:
		return d.Index == server
	default:
		return false
	}
}

// entry is a disturbance that went on from from to to; to is zero while it does.
type entry struct {
	Disturbance
	from, to time.Time
}

func (e entry) overlaps(from, to time.Time) bool {
	return !e.from.After(to) && (e.to.IsZero() || !e.to.Before(from))
}

// journal tells what went on when. It may be used from several goroutines.
type journal struct {
	mu      sync.Mutex
	entries []*entry
}

// begin notes that d begins, before anything of it is done. The returned
// function notes that nothing of it is left.
func (j *journal) begin(d Disturbance) (end func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &entry{Disturbance: d, from: time.Now()}
	j.entries = append(j.entries, e)
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		e.to = time.Now()
	}
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
		y := e.excuses()
		y.late = y.early && !e.from.After(o.wrote)
		x = x.or(y)
	}
	return x
}

// broke reports whether something that went on in that time can have broken
// legs to a server.
func (j *journal) broke(server int, from, to time.Time) bool {
	for _, e := range j.during(from, to) {
		if e.breaks(server) {
			return true
		}
	}
	return false
}

// went reports whether a kind of disturbance went on at a time.
func (j *journal) went(kind Kind, at time.Time) bool {
	return slices.ContainsFunc(j.during(at, at), func(e entry) bool { return e.Kind == kind })
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
