// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"sync"
	"sync/atomic"

	"github.com/shoot-proxy/proxy-client/internal/quota"
)

// What connections may hold back where nothing else is said, in bytes.
const (
	DefaultConnection = 16 << 20
	DefaultTotal      = 256 << 20
)

// Buffers are those of all connections. It bounds what they hold back for apps
// that read slowly.
type Buffers struct {
	connection int
	quota      *quota.Quota

	segments     sync.Pool // of *segment
	uploads      sync.Pool // of *uploadBuffer, with uploadSize bytes
	smallUploads sync.Pool // of *uploadBuffer, with smallUpload bytes
}

// NewBuffers returns bounds of so many bytes for each connection, and of q for all
// together, the uploads that wait for their targets included.
func NewBuffers(connection int, q *quota.Quota) *Buffers {
	return &Buffers{
		connection: connection, quota: q,
		segments:     sync.Pool{New: func() any { return new(segment) }},
		uploads:      sync.Pool{New: func() any { return &uploadBuffer{make([]byte, uploadSize)} }},
		smallUploads: sync.Pool{New: func() any { return &uploadBuffer{make([]byte, smallUpload)} }},
	}
}

// Held returns how many bytes are held now.
func (b *Buffers) Held() int { return b.quota.Held() }

// uploadBuffer is for what is read from an app at once.
type uploadBuffer struct{ bytes []byte }

const (
	// uploadSize is two full packets of the tunnel's in grpc mode, which leave
	// together; one byte more would make a third.
	uploadSize = 2 * (32<<10 - 32)
	// smallUpload is what is read at once where memory is scarce: then many uploads
	// wait for their targets, and each holds its buffer meanwhile.
	smallUpload = 4 << 10
	// sendCost is how many times its size an upload holds until it was sent: TLS
	// records are made of it in http-connect mode, in memory of 128 KiB for a large one.
	sendCost = 3
)

// upload returns a buffer that has to be given back to uploaded.
func (b *Buffers) upload() *uploadBuffer {
	if b.quota.Scarce() {
		return b.smallUploads.Get().(*uploadBuffer)
	}
	return b.uploads.Get().(*uploadBuffer)
}

func (b *Buffers) uploaded(buf *uploadBuffer) {
	if len(buf.bytes) == smallUpload {
		b.smallUploads.Put(buf)
	} else {
		b.uploads.Put(buf)
	}
}

// cost is what an upload of the buffer holds until it was sent.
func (buf *uploadBuffer) cost() int { return sendCost * len(buf.bytes) }

// segment is a piece of a queue; segments are reused.
type segment struct {
	data       [chunk]byte
	start, end int
}

// queue holds what an app has not taken yet. Its memory is accounted for by the
// segment.
type queue struct {
	buffers *Buffers
	account *quota.Account

	bytes    atomic.Int64 // held; changes under mu
	flushing atomic.Bool  // somebody is writing what is held; changes under mu

	mu       sync.Mutex
	segments []*segment
	closed   bool
}

func newQueue(b *Buffers, account *quota.Account) *queue {
	return &queue{buffers: b, account: account}
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
		q.account.Take(grown)
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
		q.account.Give(chunk)
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
		q.account.Give(n * chunk)
	}
}
