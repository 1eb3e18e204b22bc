// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// mostGathered is how many bytes a Socket gathers: all that a Conn lets wait, TLS
// around it, and the answers that crypto/tls gives by itself to updates of keys. They
// come without a bound of its own (RFC 8446, section 4.6.3).
const mostGathered = 2 * mostQueued

// errOverfull is what a Write of more fails with.
var errOverfull = errors.New("more waits to be written than memory may hold")

// Socket is a connection to a server for a Conn, below TLS where there is TLS. It
// gathers what is written, until it is told to write it: crypto/tls would make a
// system call for each record, and wait for room.
type Socket struct {
	net.Conn
	before func() // called before a read that may wait

	mu       sync.Mutex // of what is written
	out      []byte
	off      int // bytes of out that were written
	spare    []byte
	flushing bool
	over     bool // Write has failed
	direct   sockio.Writer
}

// NewSocket returns a Socket on conn, or nil where conn is none of the kernel's.
func NewSocket(conn net.Conn) *Socket {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	s := &Socket{Conn: conn}
	s.direct.Init(raw)
	return s
}

// Read is net.Conn's.
func (s *Socket) Read(p []byte) (int, error) {
	if s.before != nil {
		s.before()
	}
	return s.Conn.Read(p)
}

// Write is net.Conn's, but only gathers, and fails where that would be too much.
func (s *Socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over = s.over || len(s.out)-s.off+len(p) > mostGathered; s.over {
		return 0, errOverfull
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// SetWriteDeadline is net.Conn's. It does nothing, since Write does not wait:
// crypto/tls would leave a deadline behind, in the past, with its last words.
func (*Socket) SetWriteDeadline(time.Time) error { return nil }

// Close is net.Conn's. What was gathered is written as far as there is room.
func (s *Socket) Close() error {
	_, _ = s.flushNow()
	return s.Conn.Close()
}

// flushNow writes what was gathered, as far as the kernel takes it at once, and
// reports whether that was all.
func (s *Socket) flushNow() (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flushing {
		return false, nil // and all of it will be written
	}
	for s.off < len(s.out) {
		n, err := s.direct.TryWrite(s.out[s.off:])
		if err != nil || n == 0 {
			return false, err
		}
		s.off += n
	}
	s.out, s.off = kept(s.out)[:0], 0
	return true, nil
}

// flush writes what was gathered, and waits for room.
func (s *Socket) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushing = true
	defer func() { s.flushing = false }()
	for s.off < len(s.out) {
		p := s.out
		rest := p[s.off:]
		s.out, s.off, s.spare = s.spare[:0], 0, nil
		s.mu.Unlock()
		_, err := s.Conn.Write(rest)
		s.mu.Lock()
		s.spare = kept(p)
		if err != nil {
			return err
		}
	}
	s.out, s.off = kept(s.out)[:0], 0
	return nil
}

// overfull reports whether a Write was too much.
func (s *Socket) overfull() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// waits reports whether something was gathered that nobody has written yet.
func (s *Socket) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.off < len(s.out)
}
