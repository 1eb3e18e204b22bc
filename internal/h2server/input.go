// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// firstWindow is a stream's window at its beginning, in bytes. All streams together may
	// hold as much at once, so it is about what TCP begins with (RFC 6928).
	firstWindow = 16 << 10
	// maxWindow is what a window grows to if the target takes what arrives, in bytes: all
	// that the connection may send.
	maxWindow = connWindow
	// earlyWindow is by how much the window of a stream is larger that begins before the
	// client has acknowledged our SETTINGS, in bytes. It may not know firstWindow yet
	// (RFC 9113 6.9.2).
	earlyWindow = defaultWindow - firstWindow
	// chunkSize is the memory that is taken for received bytes at once.
	chunkSize = 16 << 10
)

// Memory bounds by how many bytes the windows of all streams together have grown beyond
// their first size. If there is no room, windows do not grow; nothing is reset.
type Memory struct {
	limit int64
	used  atomic.Int64
}

// NewMemory returns a bound of limit bytes.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Used returns by how many bytes windows have grown.
func (m *Memory) Used() int64 { return m.used.Load() }

// take takes n bytes, if there is room.
func (m *Memory) take(n int) bool {
	if m.used.Add(int64(n)) > m.limit {
		m.used.Add(-int64(n))
		return false
	}
	return true
}

// growPart is the part of what is free that one window may grow by at once.
const growPart = 8

// grow takes n bytes to make a window wider. The less is free, the narrower windows stay,
// so that streams which begin later find something.
func (m *Memory) grow(n int) bool {
	return int64(n) <= (m.limit-m.used.Load())/growPart && m.take(n)
}

func (m *Memory) give(n int) { m.used.Add(-int64(n)) }

// chunks are buffers of chunkSize bytes that no stream uses.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// input is what a client has sent on a stream. Conn.mu guards it.
type input struct {
	window   int // what the client may send that the handler has not taken, in bytes
	credit   int // what the client may still send
	received int // bytes in queue and lent
	taken    int // bytes taken by the handler since counted
	counted  time.Time
	early    int // earlyWindow, if the stream has begun early

	queue []chunk
	lent  chunk // that Receive has returned
}

// chunk is memory with received bytes.
type chunk struct {
	memory *[chunkSize]byte
	length int
}

// init begins a stream. It reports whether there is memory for it.
func (in *input) init(early bool, memory *Memory) bool {
	in.window, in.credit, in.counted = firstWindow, firstWindow, time.Now()
	if !early {
		return true
	}
	if !memory.take(earlyWindow) {
		return false
	}
	in.early = earlyWindow
	in.credit += earlyWindow
	return true
}

func (in *input) isEmpty() bool { return len(in.queue) == 0 }

// add queues bytes. They are appended to the last chunk, so that many small frames do not
// take a chunk each.
func (in *input) add(p []byte) {
	in.credit -= len(p)
	in.received += len(p)
	for len(p) > 0 {
		last := len(in.queue) - 1
		if last < 0 || in.queue[last].length == chunkSize {
			in.queue = append(in.queue, chunk{memory: chunks.Get().(*[chunkSize]byte)})
			last++
		}
		c := &in.queue[last]
		n := copy(c.memory[c.length:], p)
		c.length += n
		p = p[n:]
	}
}

// lend returns the first chunk's bytes.
func (in *input) lend() []byte {
	in.lent = in.queue[0]
	in.queue[0] = chunk{}
	in.queue = in.queue[1:]
	if len(in.queue) == 0 {
		in.queue = nil
	}
	return in.lent.memory[:in.lent.length]
}

// takeBack frees the chunk that was lent, and returns its length.
func (in *input) takeBack() int {
	n := in.lent.length
	if in.lent.memory != nil {
		chunks.Put(in.lent.memory)
	}
	in.lent = chunk{}
	in.received -= n
	in.taken += n
	return n
}

// free frees what was not received by the handler. What was lent stays.
func (in *input) free(memory *Memory) {
	for _, c := range in.queue {
		chunks.Put(c.memory)
	}
	in.queue = nil
	memory.give(in.window - firstWindow + in.early)
	in.window, in.early = firstWindow, 0
}

// growWithin is how soon a whole window must be taken, for the window to grow. It is longer
// than a round trip. A stream that needs longer is not held back by its window.
const growWithin = time.Second

// giveBack returns the window of what the handler has taken. The window grows if the
// handler has taken a whole one within growWithin. If it takes less than a half in that
// time, the window shrinks by as much as the client may not send any more. The caller holds
// mu.
func (s *Stream) giveBack() {
	in := &s.in
	if in.takeBack() == 0 || s.err != nil || s.gotEnd {
		return
	}
	now := time.Now()
	slow := now.Sub(in.counted) >= growWithin
	switch half := in.window / 2; {
	case in.taken >= in.window:
		if !slow && in.window < maxWindow && s.conn.cfg.Memory.grow(in.window) {
			in.window *= 2
		}
		in.taken, in.counted = 0, now
	case slow && in.window > firstWindow && in.credit+in.received <= half:
		s.conn.cfg.Memory.give(half)
		in.window = half
		in.taken, in.counted = 0, now
	}
	s.openWindow()
}

// openWindow returns what is due of the window, if that is a half of it. The caller holds
// mu.
func (s *Stream) openWindow() {
	in := &s.in
	due := in.window - in.credit - in.received
	if due >= in.window/2 {
		in.credit += due
		s.conn.control(appendWindowUpdate(nil, s.id, due))
	}
}
