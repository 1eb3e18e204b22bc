// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// defaultMaxDials is --max-dials' default.
const defaultMaxDials = 256

// dialLimit bounds the dials in flight, so that neither server nor agent is flooded,
// and keeps a dead target from taking all of them: a dial to it hangs for
// seconds, one to a live target takes milliseconds.
//
// One destination holds at most share of the max places. Whoever finds none
// waits. A place that becomes free goes to the next destination in turn that
// has somebody waiting and is below its share, and there to who came first.
type dialLimit struct {
	max, share int

	mu           sync.Mutex
	closed       bool
	inFlight     int
	destinations map[netip.AddrPort]*destination // those that hold or wait
	turns        list.List                       // of *destination: those that may have the next free place
}

// destination is one target's part of a dialLimit.
type destination struct {
	held    int           // places
	waiting list.List     // of *waiter, who came first in front
	turn    *list.Element // of turns; nil where nobody waits, or the share is taken
}

// waiter is a dial without a place.
type waiter struct {
	destination netip.AddrPort
	ready       chan struct{} // closed with the grant of a place
	element     *list.Element // of destination.waiting; nil once granted
}

// newDialLimit returns places for most dials, of which one destination may have a
// quarter.
func newDialLimit(most int) *dialLimit {
	return &dialLimit{max: most, share: max(1, most/4), destinations: map[netip.AddrPort]*destination{}}
}

// acquire waits for a place for a dial to dst until ctx ends, and then returns
// a *tunnel.Error. Whoever got a place has to release it.
func (d *dialLimit) acquire(ctx context.Context, dst netip.AddrPort) error {
	if ctx.Err() == nil && d.take(dst) {
		return nil
	}
	w := d.enter(dst)
	select {
	case <-w.ready:
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		return nil
	}
	granted, full := d.leave(w)
	if granted { // too late to dial
		d.release(dst)
	}
	return noPlace(ctx, full)
}

// place is one that was granted, and is given back when the last who uses it
// has left: a dial that was given up may still be under way behind the scenes.
type place struct {
	limit       *dialLimit
	destination netip.AddrPort
	users       atomic.Int32
}

// use counts one more user, until it calls leave. The first must not leave
// before the last has come.
func (p *place) use() (leave func()) {
	p.users.Add(1)
	return func() {
		if p.users.Add(-1) == 0 {
			p.limit.release(p.destination)
		}
	}
}

// noPlace says why a dial ended that was still waiting.
func noPlace(ctx context.Context, full error) *tunnel.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: fmt.Errorf("while waiting for other dials to end: %w", context.Canceled)}
	}
	return &tunnel.Error{Reason: ReasonMaxDials, Err: full}
}

// take takes a place where there is one and nobody else may have it. Nearly all
// dials need no more.
func (d *dialLimit) take(dst netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.inFlight >= d.max || d.turns.Len() > 0 {
		return false
	}
	to := d.to(dst)
	if to.held >= d.share || to.waiting.Len() > 0 {
		return false
	}
	d.inFlight++
	to.held++
	return true
}

// to returns dst's part, which was made where there was none. The caller settles.
func (d *dialLimit) to(dst netip.AddrPort) *destination {
	to := d.destinations[dst]
	if to == nil {
		to = &destination{}
		d.destinations[dst] = to
	}
	return to
}

// enter takes a place, where there is one, or a seat in the queue: the waiter is
// ready now or later.
func (d *dialLimit) enter(dst netip.AddrPort) *waiter {
	d.mu.Lock()
	defer d.mu.Unlock()
	to := d.to(dst)
	w := &waiter{destination: dst, ready: make(chan struct{})}
	w.element = to.waiting.PushBack(w)
	d.settle(dst, to)
	d.grant()
	return w
}

// release gives a place back.
func (d *dialLimit) release(dst netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	to := d.destinations[dst]
	d.inFlight--
	to.held--
	d.settle(dst, to)
	d.grant()
}

// leave gives up waiting. It reports whether a place had been granted by then,
// which has to be released, and what there was too much of.
func (d *dialLimit) leave(w *waiter) (granted bool, full error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.element == nil {
		return true, fmt.Errorf("a dial of --max-dials %d ended only with the budget of this one: look for targets that do not answer (reason timeout), or raise --max-dials", d.max)
	}
	to := d.destinations[w.destination]
	to.waiting.Remove(w.element)
	if to.held >= d.share {
		full = fmt.Errorf("%d dials to %s hang, and one destination may have no more in flight (a quarter of --max-dials %d): "+
			"look at the target, which does not answer, or raise --max-dials", to.held, w.destination, d.max)
	} else {
		full = fmt.Errorf("%d dials are in flight, and --max-dials allows no more: "+
			"look for targets that do not answer (reason timeout), or raise --max-dials", d.inFlight)
	}
	d.settle(w.destination, to)
	return false, full
}

// close ends the handing out of places. Call it before the contexts of those that
// wait are cancelled: they end one after the other, and the places of the first
// would go to the last.
func (d *dialLimit) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// grant hands out places for as long as there are any and somebody may have one.
func (d *dialLimit) grant() {
	for !d.closed && d.inFlight < d.max && d.turns.Len() > 0 {
		to := d.turns.Remove(d.turns.Front()).(*destination)
		to.turn = nil
		w := to.waiting.Remove(to.waiting.Front()).(*waiter)
		w.element = nil
		d.inFlight++
		to.held++
		d.settle(w.destination, to) // behind all others
		close(w.ready)
	}
}

// settle gives to a turn where it may have one and has none, takes it away
// where it may not, and forgets a destination that neither holds nor waits.
func (d *dialLimit) settle(dst netip.AddrPort, to *destination) {
	may := to.waiting.Len() > 0 && to.held < d.share
	switch {
	case may && to.turn == nil:
		to.turn = d.turns.PushBack(to)
	case !may && to.turn != nil:
		d.turns.Remove(to.turn)
		to.turn = nil
	}
	if to.held == 0 && to.waiting.Len() == 0 {
		delete(d.destinations, dst)
	}
}
