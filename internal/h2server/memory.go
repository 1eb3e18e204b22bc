// SPDX-License-Identifier: Apache-2.0

package h2server

import "sync"

// Memory bounds by how many bytes the windows of all streams together have grown beyond
// their first size, and what waits to be written to clients beyond the least. If there is no
// room, both stay narrow; nothing is reset.
//
// Each client has a Share of it. A client takes half of what is free at most, so the next one
// finds the other half. What a client holds for targets that do not read, it keeps until they
// do. The same holds for what it does not read itself.
type Memory struct {
	limit int64

	mu   sync.Mutex
	used int64
}

// NewMemory returns a bound of limit bytes.
func NewMemory(limit int64) *Memory { return &Memory{limit: limit} }

// Used returns how many bytes are used of the bound.
func (m *Memory) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// NewShare returns the share of one client, which holds nothing yet. All connections of the
// client use it.
func (m *Memory) NewShare() *Share { return &Share{memory: m} }

// Share is what one client's connections use of a Memory.
type Share struct {
	memory *Memory
	used   int64 // bytes; memory.mu guards it
}

// Used returns how many bytes the client uses.
func (s *Share) Used() int64 {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.used
}

// left returns how much more is free than the share holds. The caller holds mu.
func (s *Share) left() int64 { return s.memory.limit - s.memory.used - s.used }

func (s *Share) add(n int64) {
	s.used += n
	s.memory.used += n
}

// take takes n bytes, if as much is free after that as the share holds.
func (s *Share) take(n int) bool { return s.takePart(n, 2) }

// growPart is the part of what is left to a client that one window or output may grow by at
// once.
const growPart = 8

// grow takes n bytes to make a window or an output wider. The less is left, the narrower they
// stay, so that streams which begin later find something.
func (s *Share) grow(n int) bool { return s.takePart(n, growPart) }

// takePart takes n bytes if they are at most a part of what is left.
func (s *Share) takePart(n int, part int64) bool {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	if int64(n) > s.left()/part {
		return false
	}
	s.add(int64(n))
	return true
}

func (s *Share) give(n int) {
	if n == 0 {
		return
	}
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.add(-int64(n))
}

// isExceeded reports whether the share holds more than is free, since other clients have
// taken some.
func (s *Share) isExceeded() bool {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.left() < 0
}
