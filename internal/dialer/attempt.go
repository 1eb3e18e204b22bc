// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// attempts shares one attempt among all callers that need its result. One attempt is
// under way at a time, and every caller that comes meanwhile gets its result. It goes
// on if the first caller gives up.
type attempts struct {
	background *sync.WaitGroup
	run        func() *tunnel.Error
	pause      time.Duration // after a failed attempt, during which callers get its result

	mu   sync.Mutex // guards last
	last *attempt
}

// attempt is one of them. Its other fields may be read when done is closed.
type attempt struct {
	done  chan struct{}
	err   *tunnel.Error
	ended time.Time
}

// wait returns the result of the attempt that begin returns. If ctx ends first, it
// returns the error that late makes.
func (a *attempts) wait(ctx context.Context, late func() *tunnel.Error) *tunnel.Error {
	current := a.begin()
	select {
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return late()
	}
}

// begin returns the attempt that is under way, or one that has just failed. If there is
// none, it starts another.
func (a *attempts) begin() *attempt { return a.beginAfter(0) }

// beginAfter is begin, but it also returns an attempt that ended less than age ago.
func (a *attempts) beginAfter(age time.Duration) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil && a.last.stillAnswers(a.pause, age) {
		return a.last
	}
	next := &attempt{done: make(chan struct{})}
	a.last = next
	a.background.Go(func() {
		next.err = a.run()
		next.ended = time.Now()
		close(next.done)
	})
	return next
}

// running reports whether an attempt is under way.
func (a *attempts) running() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last != nil && a.last.running()
}

func (a *attempt) running() bool {
	select {
	case <-a.done:
		return false
	default:
		return true
	}
}

// stillAnswers reports whether callers get the result of a, and no other attempt is
// needed.
func (a *attempt) stillAnswers(pause, age time.Duration) bool {
	if a.running() {
		return true
	}
	if a.err != nil {
		age = max(age, pause)
	}
	return time.Since(a.ended) < age
}
