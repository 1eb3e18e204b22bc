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

// dialLimit limits the dials in flight, so that neither the server nor the agent gets
// too many. It also keeps a dead target from using all of them: a dial to it takes
// seconds, a dial to a live target milliseconds.
//
// One destination holds at most share of the max places. A dial without a place waits.
// A free place goes to the next destination in roundRobin: one with a waiting dial and
// fewer places than share. Within the destination, the oldest waiter gets it.
type dialLimit struct {
	max, share int
	setting    string // that has max, for errors

	mu           sync.Mutex
	closed       bool
	inFlight     int
	destinations map[netip.AddrPort]*destination // those that hold a place or wait
	roundRobin   list.List                       // of *destination: those that may get the next free place
}

// destination is the state of one target in a dialLimit.
type destination struct {
	held    int           // places
	waiting list.List     // of *waiter, the oldest in front
	turn    *list.Element // in roundRobin; nil if no dial waits, or share is used
}

// waiter is a dial without a place.
type waiter struct {
	destination netip.AddrPort
	ready       chan struct{} // closed when a place is granted
	element     *list.Element // in destination.waiting; nil after the grant
}

// newDialLimit returns a limit of most places. One destination may hold a quarter of
// them. Errors call the limit by setting.
func newDialLimit(most int, setting string) *dialLimit {
	return &dialLimit{max: most, share: max(1, most/4), setting: setting, destinations: map[netip.AddrPort]*destination{}}
}

// active returns how many dials are in flight.
func (d *dialLimit) active() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inFlight
}

// acquire waits for a place for a dial to dst. If ctx ends first, it returns a
// *tunnel.Error. After success, the caller must call release.
func (d *dialLimit) acquire(ctx context.Context, dst netip.AddrPort) error {
	if ctx.Err() == nil && d.tryAcquire(dst) {
		return nil
	}
	w := d.enqueue(dst)
	select {
	case <-w.ready:
	case <-ctx.Done():
	}
	if ctx.Err() == nil {
		return nil
	}
	granted, full := d.stopWaiting(w)
	if granted { // too late to dial
		d.release(dst)
	}
	return noPlace(ctx, full)
}

// place is a granted place. The last user gives it back, because a dial that was given
// up may still run in the background.
type place struct {
	limit       *dialLimit
	destination netip.AddrPort
	users       atomic.Int32
}

// use adds a user, until leave is called. The first user must not leave before the last
// one is added.
func (p *place) use() (leave func()) {
	p.users.Add(1)
	return func() {
		if p.users.Add(-1) == 0 {
			p.limit.release(p.destination)
		}
	}
}

// noPlace returns the error of a dial whose context ended while it waited.
func noPlace(ctx context.Context, full error) *tunnel.Error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return &tunnel.Error{Reason: tunnel.ReasonCancelled, Err: fmt.Errorf("while waiting for other dials to end: %w", context.Canceled)}
	}
	return &tunnel.Error{Reason: ReasonMaxDials, Err: full}
}

// tryAcquire takes a place if one is free and no other dial waits for it. Nearly all
// dials need only this.
func (d *dialLimit) tryAcquire(dst netip.AddrPort) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || d.inFlight >= d.max || d.roundRobin.Len() > 0 {
		return false
	}
	to := d.entry(dst)
	if to.held >= d.share || to.waiting.Len() > 0 {
		return false
	}
	d.inFlight++
	to.held++
	return true
}

// entry returns dst's state, and creates it if there is none. The caller must call
// updateTurn, or take a place.
func (d *dialLimit) entry(dst netip.AddrPort) *destination {
	to := d.destinations[dst]
	if to == nil {
		to = &destination{}
		d.destinations[dst] = to
	}
	return to
}

// enqueue returns a new waiter. It gets a place at once if one is free, and otherwise
// later.
func (d *dialLimit) enqueue(dst netip.AddrPort) *waiter {
	d.mu.Lock()
	defer d.mu.Unlock()
	to := d.entry(dst)
	w := &waiter{destination: dst, ready: make(chan struct{})}
	w.element = to.waiting.PushBack(w)
	d.updateTurn(dst, to)
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
	d.updateTurn(dst, to)
	d.grant()
}

// stopWaiting ends the wait of w. granted reports that w had already got a place, which
// the caller must release. full says which limit was reached.
func (d *dialLimit) stopWaiting(w *waiter) (granted bool, full error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w.element == nil {
		return true, fmt.Errorf("a dial of %[1]s %[2]d ended only with the budget of this one: look for targets that do not answer (reason timeout), or raise %[1]s", d.setting, d.max)
	}
	to := d.destinations[w.destination]
	to.waiting.Remove(w.element)
	if to.held >= d.share {
		full = fmt.Errorf("%d dials to %s hang, and one destination may have no more in flight (a quarter of %s %d): "+
			"look at the target, which does not answer, or raise %[3]s", to.held, w.destination, d.setting, d.max)
	} else {
		full = fmt.Errorf("%d dials are in flight, and %s allows no more: "+
			"look for targets that do not answer (reason timeout), or raise %[2]s", d.inFlight, d.setting)
	}
	d.updateTurn(w.destination, to)
	return false, full
}

// close ends the granting of places. Call it before the contexts of the waiting dials
// are cancelled. These dials end one after the other, and the first would otherwise
// give their places to the last.
func (d *dialLimit) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
}

// grant grants free places to waiting dials.
func (d *dialLimit) grant() {
	for !d.closed && d.inFlight < d.max && d.roundRobin.Len() > 0 {
		to := d.roundRobin.Remove(d.roundRobin.Front()).(*destination)
		to.turn = nil
		w := to.waiting.Remove(to.waiting.Front()).(*waiter)
		w.element = nil
		d.inFlight++
		to.held++
		d.updateTurn(w.destination, to) // at the end of roundRobin
		close(w.ready)
	}
}

// updateTurn adds to to roundRobin or removes it, as its state requires. It deletes a
// destination that neither holds a place nor waits.
func (d *dialLimit) updateTurn(dst netip.AddrPort, to *destination) {
	may := to.waiting.Len() > 0 && to.held < d.share
	switch {
	case may && to.turn == nil:
		to.turn = d.roundRobin.PushBack(to)
	case !may && to.turn != nil:
		d.roundRobin.Remove(to.turn)
		to.turn = nil
	}
	if to.held == 0 && to.waiting.Len() == 0 {
		delete(d.destinations, dst)
	}
}
