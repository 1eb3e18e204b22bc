// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// attempts are the tries at something that many may need at once: one is under
// way at a time, and all who ask meanwhile get its result. It does not end with
// who asked first.
type attempts struct {
	background *sync.WaitGroup
	run        func() *tunnel.Error
	pause      time.Duration // after a failure, in which its result is still the answer

	mu   sync.Mutex // guards last
	last *attempt
}

// attempt is one of them. What it came to can be read when done is closed.
type attempt struct {
	done  chan struct{}
	err   *tunnel.Error
	ended time.Time
}

// wait returns the result of the attempt that begin returns. late makes the
// error where ctx ends first.
func (a *attempts) wait(ctx context.Context, late func() *tunnel.Error) *tunnel.Error {
	current := a.begin()
	select {
	case <-current.done:
		return current.err
	case <-ctx.Done():
		return late()
	}
}

// begin returns the attempt under way, or the one that has just failed, or
// starts another.
func (a *attempts) begin() *attempt { return a.beginAfter(0) }

// beginAfter is begin, but leaves it at the last attempt where that ended less
// than age ago.
func (a *attempts) beginAfter(age time.Duration) *attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last != nil && a.last.stands(a.pause, age) {
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

// stands reports whether nobody needs another attempt after this one.
func (a *attempt) stands(pause, age time.Duration) bool {
	if a.running() {
		return true
	}
	if a.err != nil {
		age = max(age, pause)
	}
	return time.Since(a.ended) < age
}
