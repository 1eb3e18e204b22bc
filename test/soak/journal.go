// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// excuse says which failures of a connection the disturbances of its time excuse.
type excuse struct {
	reset bool // the connection to a server may have broken
	early bool // an agent may have died: a clean end that came too early
	late  bool // and then the app wrote to what seemed to have closed: RST
	tail  bool // what was sent just before a close may be discarded
	dial  bool // all servers may have been out of reach for longer than the budget
}

func (e excuse) or(f excuse) excuse {
	return excuse{e.reset || f.reset, e.early || f.early, e.late || f.late, e.tail || f.tail, e.dial || f.dial}
}

// excuses returns what a disturbance can do. struck is for connections that lived when it
// struck. lasting is for those that lived at any time during it. See the package comment.
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
		// All clocks have gone on meanwhile. Upstream's TCP_USER_TIMEOUT is 20 s.
		return excuse{reset: true, early: d.For > 3*breaking}, excuse{tail: true, dial: true}
	case FewStreams:
		return excuse{reset: true, tail: true}, excuse{}
	case SwapFiles, SpoilFiles, ClockAhead, ClockBack, PauseTarget:
		return excuse{}, excuse{}
	default:
		return excuse{}, excuse{tail: true}
	}
}

// excusesWithExit returns the same where everything goes through exits. A tunnel that broke
// resets its streams, and may lose the end of what they sent. Nothing else is lost, and no
// end comes early.
func (d Disturbance) excusesWithExit() (struck, lasting excuse) {
	switch d.Kind {
	case KillServer, KillServers, KillAgent, KillAgents, HideServerFor, FewStreams, KillExit, RestartExit:
		return excuse{reset: true, tail: true}, excuse{}
	case PartPodFor, Stall:
		return excuse{reset: true, tail: true}, excuse{dial: true}
	default:
		return excuse{}, excuse{}
	}
}

// noticing is how long a tunnel may be cut until new connections avoid it: an interval of
// PINGs, and the time until an answer is missing. An end of the tunnel is known earlier.
const noticing = 2 * time.Second

// cutDial is how long a dial into a cut tunnel lasts at most: until the tunnel has been silent
// for too long, and what a slow machine adds.
const cutDial = 12 * time.Second

// cuts reports whether a disturbance cuts a tunnel, so that dials go into it until the sidecar
// knows.
func (d Disturbance) cuts() bool {
	switch d.Kind {
	case HideServer, HideServerFor, PartPod, PartPodFor, PartShoot, KillServer, KillServers, FewStreams, KillAgent, KillAgents, KillExit, RestartExit:
		return true
	default:
		return false
	}
}

// dialsInto reports whether a dial that began then may have gone into an exit's tunnel that e
// had cut. What the app has sent is in that tunnel, so the dial is not repeated.
func (e entry) dialsInto(began time.Time) bool {
	return e.cuts() && !began.Before(e.began) && began.Before(e.struck.Add(noticing))
}

// breaks reports whether a disturbance can break connections to a server.
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

// entry is a disturbance with its times. A time that has not come yet is zero.
type entry struct {
	Disturbance
	began  time.Time // before it was started
	struck time.Time // when it had taken effect: processes dead, links cut
	undone time.Time // when it was undone
	ended  time.Time // when all of its effects were over
}

// breaking is how long a connection to a server may be cut without being given up: see
// deck.
const breaking = 4 * time.Second

// real returns the disturbance with its real length. On a slow machine a short one may
// have taken long.
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
		// Servers and agents wait for 20 s, and then take each other for dead.
		if undone.Sub(e.began) > 2*breaking {
			d.Kind = KillAgents
		}
	case FreezeServer:
		// The kernel of a frozen process answers for it until its buffers are full.
		if undone.Sub(e.began) > 2*breaking {
			d.Kind = HideServerFor
		}
	}
	return d
}

// silence is how long a tunnel to an exit may be silent without being given up, less what
// a slow machine adds. After a cut TCP sends again after up to twice its time.
const silence = 5500 * time.Millisecond

// realWithExit returns the same where everything goes through exits.
func (e entry) realWithExit() Disturbance {
	d, undone := e.real(), e.undone
	if undone.IsZero() {
		undone = time.Now()
	}
	took := undone.Sub(e.began)
	switch d.Kind {
	case PartPod, PartShoot, HideServer:
		if took > silence/2 {
			d.Kind = KillExit
		}
	case FreezeServer, FreezeAgent, FreezeExit:
		if took > silence {
			d.Kind = KillExit
		}
	}
	return d
}

func (e entry) overlaps(from, to time.Time) bool { return overlap(e.began, e.ended, from, to) }

// hit reports whether a connection that lived between these times lived when e struck.
func (e entry) hit(from, to time.Time) bool { return overlap(e.began, e.struck, from, to) }

// overlap reports whether two spans have a moment in common. If ended is zero, the first
// span goes on.
func overlap(began, ended, from, to time.Time) bool {
	return !began.After(to) && (ended.IsZero() || !ended.Before(from))
}

// journal records what went on when. It may be used from several goroutines.
type journal struct {
	exits   bool // whether everything goes through exits
	mu      sync.Mutex
	entries []*entry
}

// begin records that d begins, before any of its effects.
func (j *journal) begin(d Disturbance) *entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := &entry{Disturbance: d, began: time.Now()}
	j.entries = append(j.entries, e)
	return e
}

// stalled records that the machine stood still from some time until now.
func (j *journal) stalled(since time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	// An app may notice a moment later what expired meanwhile.
	j.entries = append(j.entries, &entry{
		Disturbance: Disturbance{Kind: Stall, For: now.Sub(since)},
		began:       since, struck: now, undone: now, ended: now.Add(2 * time.Second),
	})
}

// strike records that e has taken effect.
func (j *journal) strike(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.struck = time.Now()
}

// undo records that e has been undone.
func (j *journal) undo(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.undone = time.Now()
}

// end records that no effect of e is left.
func (j *journal) end(e *entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e.ended = time.Now()
}

// during returns the disturbances between the two times.
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

// excuse returns what excused a connection until its end. If its target's side ended
// later, that time counts.
func (j *journal) excuse(o outcome, until time.Time) excuse {
	if until.Before(o.ended) {
		until = o.ended
	}
	var x excuse
	for _, e := range j.during(o.began, until) {
		struck, lasting := j.excuses(e)
		x = x.or(lasting)
		x.dial = x.dial || j.exits && e.dialsInto(o.began) && o.ended.Sub(o.began) <= cutDial
		if e.hit(o.began, until) {
			struck.late = struck.early && !e.began.After(o.wrote)
			x = x.or(struck)
		}
	}
	return x
}

// excuses returns what a disturbance can do in this lab.
func (j *journal) excuses(e entry) (struck, lasting excuse) {
	if j.exits {
		return e.realWithExit().excusesWithExit()
	}
	return e.real().excuses()
}

// mayReset reports whether a disturbance can have reset connections in that time.
func (j *journal) mayReset(from, to time.Time) bool {
	return slices.ContainsFunc(j.during(from, to), func(e entry) bool {
		struck, lasting := j.excuses(e)
		return lasting.reset || struck.reset && e.hit(from, to)
	})
}

// broke reports whether a disturbance can have broken connections to a server in that
// time.
func (j *journal) broke(server int, from, to time.Time) bool {
	return slices.ContainsFunc(j.during(from, to), func(e entry) bool { return e.real().breaks(server) && e.hit(from, to) })
}

// dialWasCut reports whether a dial of that time may have been in an exit's tunnel that a
// disturbance cut, or had cut.
func (j *journal) dialWasCut(from, to time.Time) bool {
	return j.exits && to.Sub(from) <= cutDial && slices.ContainsFunc(j.during(from, to), func(e entry) bool { return e.dialsInto(from) || e.cuts() && e.hit(from, to) })
}

// went reports whether a disturbance of one of these kinds went on in that time.
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

// String lists the disturbances: when each began, had struck, was undone, and was over.
func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var b strings.Builder
	for _, e := range j.entries {
		fmt.Fprintf(&b, "%s  %s  %s  %s  %s\n", e.began.Format(clock), e.struck.Format(clock), e.undone.Format(clock), e.ended.Format(clock), e.Disturbance)
	}
	return b.String()
}
