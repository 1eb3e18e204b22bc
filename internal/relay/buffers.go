// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"
)

// What connections may hold back where nothing else is said, in bytes.
const (
	DefaultConnection = 16 << 20
	DefaultTotal      = 256 << 20
)

// Buffers are those of all connections. It bounds what they hold back for apps
// that read slowly.
type Buffers struct {
	connection, total int

	segments sync.Pool // of *segment
	uploads  sync.Pool // of *uploadBuffer

	mu      sync.Mutex
	held    int
	holders map[*queue]struct{}
}

// NewBuffers returns bounds of so many bytes for each connection and for all
// together.
func NewBuffers(connection, total int) *Buffers {
	return &Buffers{
		connection: connection, total: total, holders: map[*queue]struct{}{},
		segments: sync.Pool{New: func() any { return new(segment) }},
		uploads:  sync.Pool{New: func() any { return new(uploadBuffer) }},
	}
}

// uploadBuffer is for what is read from an app at once.
type uploadBuffer [uploadSize]byte

// uploadSize is two full packets of the tunnel's in grpc mode, which leave together;
// one byte more would make a third.
const uploadSize = 2 * (32<<10 - 32)

// upload returns a buffer that has to be given back to uploaded.
func (b *Buffers) upload() *uploadBuffer { return b.uploads.Get().(*uploadBuffer) }

func (b *Buffers) uploaded(buf *uploadBuffer) { b.uploads.Put(buf) }

// Held returns how many bytes are held back now.
func (b *Buffers) Held() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.held
}

// take accounts for n more bytes of q. Where that is too much for all, the
// queue that holds the most is returned: its connection has to go, and what it
// holds does not count any more.
func (b *Buffers) take(q *queue, n int) (most *queue) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if q.evicted {
		return nil
	}
	b.held += n
	q.account += n
	if q.account == 0 { // all of it has been written, and given, meanwhile
		delete(b.holders, q)
		return nil
	}
	b.holders[q] = struct{}{}
	if b.held <= b.total {
		return nil
	}
	for h := range b.holders {
		if most == nil || h.account > most.account {
			most = h
		}
	}
	most.evicted = true
	b.release(most, most.account)
	return most
}

// give returns n bytes of q.
func (b *Buffers) give(q *queue, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !q.evicted {
		b.release(q, n)
	}
}

func (b *Buffers) release(q *queue, n int) {
	b.held -= n
	q.account -= n
	if q.account == 0 {
		delete(b.holders, q)
	}
}

// segment is a piece of a queue; segments are reused.
type segment struct {
	data       [chunk]byte
	start, end int
}

// queue holds what an app has not taken yet. Its memory is accounted for by the
// segment.
type queue struct {
	buffers *Buffers
	evict   func() // resets the connection

	// Under buffers.mu:
	account int
	evicted bool

	bytes    atomic.Int64 // held; changes under mu
	flushing atomic.Bool  // somebody is writing what is held; changes under mu

	mu       sync.Mutex
	segments []*segment
	closed   bool
}

func newQueue(b *Buffers, evict func()) *queue {
	return &queue{buffers: b, evict: evict}
}

// size returns how many bytes are held.
func (q *queue) size() int { return int(q.bytes.Load()) }

// idle reports whether nothing is held and nobody is writing what was.
func (q *queue) idle() bool { return !q.flushing.Load() }

// add appends a copy of p. It reports whether somebody has to start flushing.
func (q *queue) add(p []byte) (start bool) {
	var grown int
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	for len(p) > 0 {
		last := len(q.segments) - 1
		if last < 0 || q.segments[last].end == chunk {
			s := q.buffers.segments.Get().(*segment)
			s.start, s.end = 0, 0
			q.segments = append(q.segments, s)
			grown += chunk
			last++
		}
		s := q.segments[last]
		n := copy(s.data[s.end:], p)
		s.end += n
		q.bytes.Add(int64(n))
		p = p[n:]
	}
	start = !q.flushing.Swap(true)
	q.mu.Unlock()
	if grown > 0 {
		if most := q.buffers.take(q, grown); most != nil {
			most.evict()
		}
	}
	return start
}

// head returns the first bytes, none when all were written, which ends the
// flushing.
func (q *queue) head() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.segments) == 0 || q.closed {
		q.flushing.Store(false)
		return nil
	}
	s := q.segments[0]
	return s.data[s.start:s.end]
}

// drop removes the first n bytes, which were written.
func (q *queue) drop(n int) {
	q.mu.Lock()
	s := q.segments[0]
	s.start += n
	q.bytes.Add(-int64(n))
	emptied := s.start == s.end
	if emptied {
		q.segments[0] = nil
		q.segments = q.segments[1:]
		q.buffers.segments.Put(s)
	}
	q.mu.Unlock()
	if emptied {
		q.buffers.give(q, chunk)
	}
}

// close drops everything. The flusher must have ended.
func (q *queue) close() {
	q.mu.Lock()
	n := len(q.segments)
	for _, s := range q.segments {
		q.buffers.segments.Put(s)
	}
	q.segments, q.closed = nil, true
	q.bytes.Store(0)
	q.mu.Unlock()
	if n > 0 {
		q.buffers.give(q, n*chunk)
	}
}
