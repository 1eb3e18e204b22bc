// SPDX-License-Identifier: Apache-2.0

package h2server

import (
	"bufio"
	"net"
	"sync"
)

// socketBuffer holds several TLS records, so that they share a system call. In bytes.
const socketBuffer = 64 << 10

// Socket is a connection below crypto/tls, which reads and writes a record at a time. A
// Socket reads several at a time, and writes all records of one write together.
type Socket struct {
	net.Conn

	reader *bufio.Reader // nil before large is called; of the reading goroutine

	mu     sync.Mutex // guards all below
	corked bool
	held   []byte
	err    error // of a write while corked
}

// NewSocket returns a Socket that passes everything through until a Conn uses it.
func NewSocket(conn net.Conn) *Socket { return &Socket{Conn: conn} }

// large makes reads large. It is called by the goroutine that reads.
func (s *Socket) large() { s.reader = bufio.NewReaderSize(s.Conn, socketBuffer) }

// Read implements net.Conn.
func (s *Socket) Read(p []byte) (int, error) {
	if s.reader == nil {
		return s.Conn.Read(p)
	}
	return s.reader.Read(p)
}

// Write implements net.Conn. The reading goroutine writes too, for example alerts.
func (s *Socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.corked {
		return s.Conn.Write(p)
	}
	s.held = append(s.held, p...)
	if len(s.held) >= socketBuffer && s.err == nil {
		s.err = s.flush()
	}
	return len(p), s.err
}

// cork holds back what is written until uncork.
func (s *Socket) cork() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corked = true
}

// uncork writes what was held back.
func (s *Socket) uncork() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corked = false
	if s.err == nil {
		s.err = s.flush()
	}
	if cap(s.held) > 2*socketBuffer {
		s.held = nil
	}
	return s.err
}

// flush writes what is held. The caller holds mu.
func (s *Socket) flush() error {
	if len(s.held) == 0 {
		return nil
	}
	_, err := s.Conn.Write(s.held)
	s.held = s.held[:0]
	return err
}
