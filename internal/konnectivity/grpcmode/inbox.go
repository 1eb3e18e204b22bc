// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The capacities of segments, in bytes. An agent sends 4 KiB at a time, and most
// connections have no more. For the others, fewer writes to the app are better.
const (
	smallSegment  = 4 << 10
	mediumSegment = 32 << 10
	largeSegment  = tunnel.MaxReceive
)

// segmentFor returns the capacity of a segment for n bytes, or for the first of them.
func segmentFor(n int) int {
	switch {
	case n <= smallSegment:
		return smallSegment
	case n <= mediumSegment:
		return mediumSegment
	default:
		return largeSegment
	}
}

// segment is a piece of an inbox.
type segment struct {
	next *segment
	data []byte // its capacity is one of the three above
	cost int    // bytes of the stream's window that its data has used
}

// segments is a pool of segments. The zero value is ready.
type segments struct{ small, medium, large sync.Pool }

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
	switch size {
	case smallSegment:
		return &p.small
	case mediumSegment:
		return &p.medium
	default:
		return &p.large
	}
}

// inbox holds the bytes that have arrived for a connection and were not received. An
// empty inbox holds no memory.
type inbox struct {
	account     *quota.Account // counts its segments, and the one that take has returned last
	first, last *segment
	bytes       int
	usual       int // bytes that the last Receive has returned
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
		b.push(b.get(pool, largeSegment))
	}
}

// get returns a segment, which counts until giveBack.
func (b *inbox) get(pool *segments, size int) *segment {
	b.account.Take(size)
	return pool.get(size)
}

// giveBack gives back a segment that take has returned.
func (b *inbox) giveBack(pool *segments, s *segment) {
	b.account.Give(cap(s.data))
	pool.put(s)
}

// fit makes room for some of n bytes in the last segment. A segment without room is
// replaced by a larger one, so that one Receive returns all. If the last Receive
// returned much, the segment is large from the beginning.
func (b *inbox) fit(pool *segments, n int) {
	s := b.last
	switch {
	case s == nil:
		b.push(b.get(pool, segmentFor(max(n, b.usual))))
	case len(s.data) == largeSegment:
		b.push(b.get(pool, largeSegment))
	case cap(s.data) < largeSegment && len(s.data)+n > cap(s.data): // it is the only segment
		larger := b.get(pool, segmentFor(len(s.data)+n))
		larger.data = append(larger.data, s.data...)
		larger.cost = s.cost
		b.first, b.last = larger, larger
		b.giveBack(pool, s)
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

// take removes and returns the first segment. The inbox is not empty.
func (b *inbox) take() *segment {
	s := b.first
	if b.first = s.next; b.first == nil {
		b.last = nil
	}
	s.next = nil
	b.bytes -= len(s.data)
	b.usual = len(s.data)
	return s
}

// drop removes everything, and returns its cost.
func (b *inbox) drop(pool *segments) (cost int) {
	for b.first != nil {
		s := b.take()
		cost += s.cost
		b.giveBack(pool, s)
	}
	return cost
}
