// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"

	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Buffers provides the buffers of all connections. It limits the bytes that they hold
// for apps that read slowly.
type Buffers struct {
	connection int
	quota      *quota.Quota

	segments     sync.Pool // of *segment
	uploads      sync.Pool // of *uploadBuffer, with uploadBufferBytes
	smallUploads sync.Pool // of *uploadBuffer, with smallUploadBufferBytes
}

// NewBuffers returns Buffers that limit each connection to connection bytes, and all
// together to q. q also counts uploads that wait for their targets.
func NewBuffers(connection int, q *quota.Quota) *Buffers {
	return &Buffers{
		connection: connection, quota: q,
		segments:     sync.Pool{New: func() any { return new(segment) }},
		uploads:      sync.Pool{New: func() any { return &uploadBuffer{make([]byte, uploadBufferBytes)} }},
		smallUploads: sync.Pool{New: func() any { return &uploadBuffer{make([]byte, smallUploadBufferBytes)} }},
	}
}

// Held returns how many bytes are held now.
func (b *Buffers) Held() int { return b.quota.Held() }

// uploadBuffer takes the bytes of one read from an app.
type uploadBuffer struct{ bytes []byte }

const (
	// uploadBufferBytes fills two packets of the tunnel, which are sent together. One
	// byte more would need a third packet.
	uploadBufferBytes = 2 * tunnel.SendUnit
	// smallUploadBufferBytes is the size if memory is scarce. Then many uploads wait
	// for their targets, and each holds its buffer.
	smallUploadBufferBytes = 4 << 10
	// uploadCostFactor is how many times its size an upload holds until it is sent. In
	// http-connect mode TLS makes records of it, in 128 KiB of memory for a large one.
	uploadCostFactor = 3
)

// getUploadBuffer returns a buffer. The caller must return it with putUploadBuffer.
func (b *Buffers) getUploadBuffer() *uploadBuffer {
	if b.quota.Scarce() {
		return b.smallUploads.Get().(*uploadBuffer)
	}
	return b.uploads.Get().(*uploadBuffer)
}

func (b *Buffers) putUploadBuffer(buf *uploadBuffer) {
	if len(buf.bytes) == smallUploadBufferBytes {
		b.smallUploads.Put(buf)
	} else {
		b.uploads.Put(buf)
	}
}

// cost returns how many bytes an upload in buf holds until it is sent.
func (buf *uploadBuffer) cost() int { return uploadCostFactor * len(buf.bytes) }

// segment is a part of a queue. Segments are reused.
type segment struct {
	data       [segmentBytes]byte
	start, end int
}

// queue holds the bytes that an app has not taken yet. Its memory is counted in whole
// segments.
type queue struct {
	buffers *Buffers
	account *quota.Account

	bytes    atomic.Int64 // held; changed under mu
	flushing atomic.Bool  // a goroutine is writing the held bytes; changed under mu

	mu       sync.Mutex
	segments []*segment
	closed   bool
}

func newQueue(b *Buffers, account *quota.Account) *queue {
	return &queue{buffers: b, account: account}
}

// size returns how many bytes are held.
func (q *queue) size() int { return int(q.bytes.Load()) }

// idle reports whether nothing is held and no goroutine is writing.
func (q *queue) idle() bool { return !q.flushing.Load() }

// add appends a copy of p. It reports whether the caller must start a goroutine that
// writes the held bytes.
func (q *queue) add(p []byte) (start bool) {
	var grown int
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	for len(p) > 0 {
		last := len(q.segments) - 1
		if last < 0 || q.segments[last].end == segmentBytes {
			s := q.buffers.segments.Get().(*segment)
			s.start, s.end = 0, 0
			q.segments = append(q.segments, s)
			grown += segmentBytes
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
		q.account.Take(grown)
	}
	return start
}

// head returns the first bytes. If none are held, it returns nil and marks the writing
// as ended.
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
		q.account.Give(segmentBytes)
	}
}

// close drops everything. The writing goroutine must have ended.
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
		q.account.Give(n * segmentBytes)
	}
}
