// SPDX-License-Identifier: Apache-2.0

package tunnel

import "sync"

const (
	// largeSegment is the most that one Receive returns, in bytes; agents send 4 KiB
	// at a time, and the fewer writes to the app the better.
	largeSegment = 32 << 10
	// smallSegment is for connections on which little comes at a time.
	smallSegment = 4 << 10
)

// segment is a piece of an inbox.
type segment struct {
	next *segment
	data []byte // its capacity is one of the two sizes
	cost int    // what was received for it, in bytes of the stream's window
}

// segments are those that nobody uses. The zero value is ready.
type segments struct{ small, large sync.Pool }

func (p *segments) get(size int) *segment {
	pool := p.pool(size)
	if s, ok := pool.Get().(*segment); ok {
		return s
	}
	return &segment{data: make([]byte, 0, size)}
}

func (p *segments) put(s *segment) {
	s.next, s.data, s.cost = nil, s.data[:0], 0
	p.pool(cap(s.data)).Put(s)
}

func (p *segments) pool(size int) *sync.Pool {
	if size == smallSegment {
		return &p.small
	}
	return &p.large
}

// inbox holds what has arrived for a connection and was not received yet. An empty
// one holds no memory.
type inbox struct {
	first, last *segment
	bytes       int
}

// put appends a copy of p.
func (b *inbox) put(pool *segments, p []byte, cost int) {
	b.bytes += len(p)
	b.fit(pool, len(p))
	b.last.cost += cost
	for {
		s := b.last
		n := copy(s.data[len(s.data):cap(s.data)], p)
		s.data = s.data[:len(s.data)+n]
		if p = p[n:]; len(p) == 0 {
			return
		}
		b.push(pool.get(largeSegment))
	}
}

// fit sees to it that the last segment has room for some of n bytes more. One for
// little that gets more becomes one for much: all of it is then received at once.
func (b *inbox) fit(pool *segments, n int) {
	s := b.last
	switch {
	case s == nil && n <= smallSegment:
		b.push(pool.get(smallSegment))
	case s == nil, cap(s.data) == largeSegment && len(s.data) == largeSegment:
		b.push(pool.get(largeSegment))
	case cap(s.data) == smallSegment && len(s.data)+n > smallSegment: // it is the only one
		large := pool.get(largeSegment)
		large.data = append(large.data, s.data...)
		large.cost = s.cost
		b.first, b.last = large, large
		pool.put(s)
	}
}

func (b *inbox) push(s *segment) {
	if b.last == nil {
		b.first = s
	} else {
		b.last.next = s
	}
	b.last = s
}

// take removes the first segment; the inbox is not empty.
func (b *inbox) take() *segment {
	s := b.first
	if b.first = s.next; b.first == nil {
		b.last = nil
	}
	s.next = nil
	b.bytes -= len(s.data)
	return s
}

// drop removes everything, and returns what it had cost.
func (b *inbox) drop(pool *segments) (cost int) {
	for b.first != nil {
		s := b.take()
		cost += s.cost
		pool.put(s)
	}
	return cost
}
