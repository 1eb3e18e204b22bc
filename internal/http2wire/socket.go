// SPDX-License-Identifier: Apache-2.0

package http2wire

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// maxGatheredBytes is how many bytes a Socket gathers. They are all that a Conn lets
// wait, the overhead of TLS, and the answers that crypto/tls itself gives to key
// updates. crypto/tls has no limit for these (RFC 8446, section 4.6.3).
const maxGatheredBytes = 2 * maxQueuedBytes

// errTooMuchGathered is the error of a Write beyond maxGatheredBytes.
var errTooMuchGathered = errors.New("more waits to be written than memory may hold")

// Socket is a Conn's connection to a server, below TLS if there is TLS. It gathers what
// is written until flush or flushNow. Without it crypto/tls would make a system call
// for each record, and wait if the socket is full.
type Socket struct {
	net.Conn
	beforeRead func() // called before each read that may wait

	waits bool // each write may wait, because Conn has no file

	mu          sync.Mutex // guards the fields below
	out         []byte
	off         int // bytes of out that are written
	spare       []byte
	flushing    bool
	writeFailed bool // a Write was too much
	direct      sockio.Writer
}

// NewSocket returns a Socket on conn, or nil if conn is not a connection of the kernel.
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

// GatherOn returns a Socket on any net.Conn. All of its writes are made by one goroutine,
// because each may wait. What was gathered is one Write.
func GatherOn(conn net.Conn) *Socket { return &Socket{Conn: conn, waits: true} }

// Read implements net.Conn. It calls beforeRead first.
func (s *Socket) Read(p []byte) (int, error) {
	if s.beforeRead != nil {
		s.beforeRead()
	}
	return s.Conn.Read(p)
}

// Write implements net.Conn. It only gathers p, and fails beyond maxGatheredBytes.
func (s *Socket) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writeFailed = s.writeFailed || len(s.out)-s.off+len(p) > maxGatheredBytes; s.writeFailed {
		return 0, errTooMuchGathered
	}
	s.out = append(s.out, p...)
	return len(p), nil
}

// SetWriteDeadline implements net.Conn. It does nothing, because Write does not wait.
// crypto/tls sets a past deadline after its close_notify, which would end later writes.
func (*Socket) SetWriteDeadline(time.Time) error { return nil }

// Close implements net.Conn. It writes what was gathered, as far as the kernel accepts
// it at once.
func (s *Socket) Close() error {
	_, _ = s.flushNow()
	return s.Conn.Close()
}

// flushNow writes what was gathered, as far as the kernel accepts it at once. It
// reports whether that was all.
func (s *Socket) flushNow() (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flushing || s.waits && s.off < len(s.out) {
		return false, nil // flush writes all of it
	}
	for s.off < len(s.out) {
		n, err := s.direct.TryWrite(s.out[s.off:])
		if err != nil || n == 0 {
			return false, err
		}
		s.off += n
	}
	s.out, s.off = reusable(s.out)[:0], 0
	return true, nil
}

// flush writes what was gathered, and waits if the socket is full.
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
		s.spare = reusable(p)
		if err != nil {
			return err
		}
	}
	s.out, s.off = reusable(s.out)[:0], 0
	return nil
}

// failed reports whether a Write has failed.
func (s *Socket) failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writeFailed
}

// hasGathered reports whether gathered bytes wait to be written.
func (s *Socket) hasGathered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.off < len(s.out)
}
