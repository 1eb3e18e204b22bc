// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// readTimeout bounds one question to the API server.
	readTimeout = 3 * time.Second
	// maxRecent is how many answers are kept before the old ones are thrown away.
	maxRecent = 1000
)

// recent remembers answers for moments, and asks once where many want to know at the
// same time. Errors are not remembered.
type recent[T any] struct {
	age  time.Duration
	now  func() time.Time
	read func(ctx context.Context, key string, previous T) (T, error)

	flight  singleflight.Group
	mu      sync.Mutex
	entries map[string]entry[T]
}

type entry[T any] struct {
	value T
	asked time.Time
}

// newRecent returns one that asks with read, which gets what it answered before.
func newRecent[T any](age time.Duration, read func(ctx context.Context, key string, previous T) (T, error)) *recent[T] {
	return &recent[T]{age: age, now: time.Now, read: read, entries: map[string]entry[T]{}}
}

// get returns an answer that is not older than age. Who gives up does not end the
// question for the others.
func (r *recent[T]) get(ctx context.Context, key string) (T, error) {
	previous, fresh := r.lookUp(key)
	if fresh {
		return previous.value, nil
	}
	answer := r.flight.DoChan(key, func() (any, error) {
		// Somebody's question may have been answered since we looked.
		previous, fresh := r.lookUp(key)
		if fresh {
			return previous.value, nil
		}
		asked := r.now()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
		defer cancel()
		value, err := r.read(ctx, key, previous.value)
		if err != nil {
			return nil, err
		}
		r.keep(key, entry[T]{value, asked})
		return value, nil
	})
	var none T
	select {
	case <-ctx.Done():
		return none, context.Cause(ctx)
	case result := <-answer:
		if result.Err != nil {
			return none, result.Err
		}
		return result.Val.(T), nil
	}
}

func (r *recent[T]) lookUp(key string) (e entry[T], fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[key]
	return e, ok && r.now().Sub(e.asked) < r.age
}

func (r *recent[T]) keep(key string, e entry[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) >= maxRecent {
		for other, old := range r.entries {
			if r.now().Sub(old.asked) >= r.age {
				delete(r.entries, other)
			}
		}
	}
	if len(r.entries) >= maxRecent {
		return // all of them are in use: ask again next time
	}
	r.entries[key] = e
}
