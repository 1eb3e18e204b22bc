// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"sync"
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

// chunks are buffers of chunkSize bytes that no stream uses.
var chunks = sync.Pool{New: func() any { return new([chunkSize]byte) }}

// input is what a client has sent on a stream. Conn.mu guards it.
type input struct {
	window   int // what the client may send that the handler has not taken, in bytes
	credit   int // what the client may still send
	received int // bytes in queue and lent
	taken    int // bytes taken by the handler since counted
	counted  time.Time
	early    int // earlyWindow, if the stream has begun early and may still hold it

	queue []chunk
	lent  chunk // that Receive has returned
}

// chunk is memory with received bytes.
type chunk struct {
	memory *[chunkSize]byte
	length int
}

// init begins a stream. It reports whether there is memory for it.
func (in *input) init(early bool, memory *Share) bool {
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
func (in *input) free(memory *Share) {
	for _, c := range in.queue {
		chunks.Put(c.memory)
	}
	in.queue = nil
	memory.give(in.window - firstWindow + in.early)
	in.window, in.early = firstWindow, 0
}

// end gives back what is not held, after END_STREAM.
func (in *input) end(memory *Share) {
	held := max(in.received, firstWindow)
	memory.give(in.window + in.early - held)
	in.window, in.early = held, 0
}

// growWithin is how soon a whole window must be taken, for the window to grow. It is longer
// than a round trip. A stream that needs longer is not held back by its window.
const growWithin = time.Second

// giveBack returns the window of what the handler has taken. The window grows if the
// handler has taken a whole one within growWithin. It shrinks by a half, as soon as the client
// may send no more than the other one: if the handler takes less than a whole one in that
// time, or if the client holds more than its share. The caller holds mu.
func (s *Stream) giveBack() {
	in, memory := &s.in, s.conn.cfg.Memory
	if in.takeBack() == 0 || s.err != nil {
		return
	}
	if s.gotEnd {
		in.end(memory)
		return
	}
	s.endEarly()
	now := time.Now()
	slow := now.Sub(in.counted) >= growWithin
	switch half := in.window / 2; {
	case in.window > firstWindow && in.credit+in.received <= half && (slow && in.taken < in.window || memory.isExceeded()):
		memory.give(half)
		in.window = half
		in.taken, in.counted = 0, now
	case in.taken >= in.window:
		if !slow && in.window < maxWindow && memory.grow(in.window) {
			in.window *= 2
		}
		in.taken, in.counted = 0, now
	}
	s.openWindow()
}

// endEarly gives earlyWindow back as soon as the stream cannot hold it any more: the client
// knows firstWindow, and the handler has taken what was sent before. The caller holds mu.
func (s *Stream) endEarly() {
	if in := &s.in; in.early > 0 && s.conn.settled && in.received <= in.window {
		s.conn.cfg.Memory.give(in.early)
		in.early = 0
	}
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
