// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

const (
	// readTimeout limits one request to the API server.
	readTimeout = 3 * time.Second
	// maxEntries is how many answers are kept before old ones are removed.
	maxEntries = 1000
)

// answerCache caches answers for a short time. If several goroutines ask the same at
// once, it asks the API server once. Errors are not cached.
type answerCache[T any] struct {
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

// newAnswerCache returns a cache that asks with read. previous is the last answer for
// the key.
func newAnswerCache[T any](age time.Duration, read func(ctx context.Context, key string, previous T) (T, error)) *answerCache[T] {
	return &answerCache[T]{age: age, now: time.Now, read: read, entries: map[string]entry[T]{}}
}

// get returns an answer that is not older than age. If ctx ends, the request continues
// for the other callers.
func (r *answerCache[T]) get(ctx context.Context, key string) (T, error) {
	previous, fresh := r.lookUp(key)
	if fresh {
		return previous.value, nil
	}
	answer := r.flight.DoChan(key, func() (any, error) {
		// Another request may have ended since the first lookUp.
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
		r.store(key, entry[T]{value, asked})
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

func (r *answerCache[T]) lookUp(key string) (e entry[T], fresh bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[key]
	return e, ok && r.now().Sub(e.asked) < r.age
}

func (r *answerCache[T]) store(key string, e entry[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.entries) >= maxEntries {
		for other, old := range r.entries {
			if r.now().Sub(old.asked) >= r.age {
				delete(r.entries, other)
			}
		}
	}
	if len(r.entries) >= maxEntries {
		return // all entries are in use: the next caller asks again
	}
	r.entries[key] = e
}
