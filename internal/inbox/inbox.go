// SPDX-License-Identifier: Apache-2.0

// Package inbox holds bytes that have arrived for a connection and were not received.
//
//	b := inbox.Inbox{Account: account}
//	b.Put(&pool, p, cost) // copies p
//	s := b.Take()         // one piece, as large as possible
//	b.GiveBack(&pool, s)  // when its receiver needs s.Data no more
//
// An Inbox is not safe for concurrent use, and a Pool is. The package limits nothing: the
// window of the connection does.
package inbox

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
	// Large is the largest capacity, and so the most that one Take returns.
	Large = tunnel.MaxReceive
)

// segmentFor returns the capacity of a segment for n bytes, or for the first of them.
func segmentFor(n int) int {
	switch {
	case n <= smallSegment:
		return smallSegment
	case n <= mediumSegment:
		return mediumSegment
	default:
		return Large
	}
}

// Segment is a piece of an Inbox.
type Segment struct {
	next *Segment
	Data []byte // its capacity is one of the three above
	Cost int    // bytes of the stream's window that its data has used
}

// Pool is memory for segments. The zero value is ready.
type Pool struct{ small, medium, large sync.Pool }

func (p *Pool) get(size int) *Segment {
	pool := p.pool(size)
	if s, ok := pool.Get().(*Segment); ok {
		return s
	}
	return &Segment{Data: make([]byte, 0, size)}
}

func (p *Pool) put(s *Segment) {
	s.next, s.Data, s.Cost = nil, s.Data[:0], 0
	p.pool(cap(s.Data)).Put(s)
}

func (p *Pool) pool(size int) *sync.Pool {
	switch size {
	case smallSegment:
		return &p.small
	case mediumSegment:
		return &p.medium
	default:
		return &p.large
	}
}

// Inbox holds the bytes that have arrived for a connection and were not received. An
// empty Inbox holds no memory.
type Inbox struct {
	Account     *quota.Account // counts its segments, and the one that Take has returned last
	first, last *Segment
	bytes       int
	usual       int // bytes that the last Receive has returned
}

// Put appends a copy of p.
func (b *Inbox) Put(pool *Pool, p []byte, cost int) {
	b.bytes += len(p)
	b.fit(pool, len(p))
	b.last.Cost += cost
	for {
		s := b.last
		n := copy(s.Data[len(s.Data):cap(s.Data)], p)
		s.Data = s.Data[:len(s.Data)+n]
		if p = p[n:]; len(p) == 0 {
			return
		}
		b.push(b.get(pool, Large))
	}
}

// get returns a segment, which counts until GiveBack.
func (b *Inbox) get(pool *Pool, size int) *Segment {
	b.Account.Take(size)
	return pool.get(size)
}

// GiveBack gives back a segment that Take has returned.
func (b *Inbox) GiveBack(pool *Pool, s *Segment) {
	b.Account.Give(cap(s.Data))
	pool.put(s)
}

// fit makes room for some of n bytes in the last segment. A segment without room is
// replaced by a larger one, so that one Receive returns all. If the last Receive
// returned much, the segment is large from the beginning.
func (b *Inbox) fit(pool *Pool, n int) {
	s := b.last
	switch {
	case s == nil:
		b.push(b.get(pool, segmentFor(max(n, b.usual))))
	case len(s.Data) == Large:
		b.push(b.get(pool, Large))
	case cap(s.Data) < Large && len(s.Data)+n > cap(s.Data): // it is the only segment
		larger := b.get(pool, segmentFor(len(s.Data)+n))
		larger.Data = append(larger.Data, s.Data...)
		larger.Cost = s.Cost
		b.first, b.last = larger, larger
		b.GiveBack(pool, s)
	}
}

func (b *Inbox) push(s *Segment) {
	if b.last == nil {
		b.first = s
	} else {
		b.last.next = s
	}
	b.last = s
}

// Take removes and returns the first segment. The inbox is not empty.
func (b *Inbox) Take() *Segment {
	s := b.first
	if b.first = s.next; b.first == nil {
		b.last = nil
	}
	s.next = nil
	b.bytes -= len(s.Data)
	b.usual = len(s.Data)
	return s
}

// Drop removes everything, and returns its cost.
func (b *Inbox) Drop(pool *Pool) (cost int) {
	for b.first != nil {
		s := b.Take()
		cost += s.Cost
		b.GiveBack(pool, s)
	}
	return cost
}

// Empty reports whether there are no bytes.
func (b *Inbox) Empty() bool { return b.first == nil }

// Bytes returns how many bytes there are.
func (b *Inbox) Bytes() int { return b.bytes }

// Leave gives back a segment that Take has returned, but not its memory: its receiver may
// still read it.
func (b *Inbox) Leave(s *Segment) { b.Account.Give(cap(s.Data)) }
