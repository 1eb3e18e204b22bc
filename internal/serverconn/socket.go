// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// MaxPiece is how many bytes are read from a socket, received or written at once, at
	// most. Each piece costs system calls, and wakes a goroutine here and the app.
	MaxPiece = tunnel.MaxReceive
	// recordHeader is the size of a TLS record's header. Its last two bytes are the
	// length of the rest (RFC 8446, section 5.1).
	recordHeader = 5
	// maxRecord is how many bytes crypto/tls puts into one record at most.
	maxRecord = 16 << 10
)

// chunk is memory for one read of a socket.
type chunk [MaxPiece]byte

// chunks is a pool of chunks. The zero value is ready. It is safe for concurrent use.
type chunks struct{ pool sync.Pool }

func (c *chunks) get() *chunk {
	if p, ok := c.pool.Get().(*chunk); ok {
		return p
	}
	return new(chunk)
}

func (c *chunks) put(p *chunk) { c.pool.Put(p) }

// socket is a connection to a server, below TLS if TLS is used. It reads in large pieces:
// crypto/tls alone asks the kernel for little more than a record, of which upstream's
// agent fills only 4 KiB. It holds memory only for bytes that have arrived and were not
// read, and none while it waits. writeTogether writes records in large pieces.
//
// Writing is safe for concurrent use, reading is not.
type socket struct {
	net.Conn
	chunks *chunks
	file   bool          // Conn has a file; if not, a read waits with a chunk
	reader sockio.Reader // of that file

	chunk      *chunk // bytes that have arrived and were not read; nil if there are none
	start, end int    // of these bytes in chunk
	err        error  // has ended the connection behind these bytes
	noWait     bool   // Read does not wait
	records    framing

	gathering sync.Mutex // lets one caller of writeTogether in at a time
	writing   sync.Mutex // guards the fields below, and is held while the gathered records are written
	gathered  *chunk     // records for writeTogether to write; nil while it does not run
	size      int        // of these records, in bytes
	broken    error      // of a write that failed, perhaps in the middle of a record
}

// newSocket returns a socket that reads conn. framed says that TLS reads the socket. Then
// no Read returns more than the rest of a record, so TLS never holds more than one.
func newSocket(conn net.Conn, framed bool, c *chunks) *socket {
	s := &socket{Conn: conn, chunks: c, records: framing{on: framed}}
	if file, ok := conn.(syscall.Conn); ok {
		raw, _ := file.SyscallConn() // fails for a nil connection only
		s.file = true
		s.reader.Init(conn, raw, s)
	}
	return s
}

// errNothingYet is the error of a Read that would have to wait and must not. It is
// temporary, so that crypto/tls can go on with the next Read.
var errNothingYet net.Error = nothingYet{}

type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing has arrived yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if s.empty() && !s.noWait {
		s.await()
	}
	if s.empty() {
		err := s.err
		s.err = nil // the next Read gets it from the kernel again
		if err == nil {
			err = errNothingYet
		}
		return 0, err
	}
	n := s.records.next(p, s.chunk[s.start:s.end])
	s.start += n
	if s.empty() {
		s.release()
	}
	return n, nil
}

// empty reports whether a Read would have to wait.
func (s *socket) empty() bool { return s.start == s.end }

// await waits until a Read has something to return.
func (s *socket) await() { s.fill(true) }

// poll is await without the wait.
func (s *socket) poll() { s.fill(false) }

// fill reads what has arrived, if a Read has nothing to return.
func (s *socket) fill(wait bool) {
	if !s.empty() || s.err != nil {
		return
	}
	var n int
	switch {
	case !s.file:
		s.fillPlain(wait)
		return
	case wait:
		n, s.err = s.reader.Read()
	default:
		n, s.err = s.reader.TryRead()
	}
	if n > 0 {
		s.start, s.end = 0, n
	}
	if c, ok := s.Conn.(*watchedConn); ok && !errors.Is(s.err, io.EOF) {
		s.err = c.explain(s.err)
	}
}

// Take implements sockio.Memory.
func (s *socket) Take() []byte {
	s.chunk = s.chunks.get()
	return s.chunk[:]
}

// GiveBack implements sockio.Memory.
func (s *socket) GiveBack() { s.release() }

// fillPlain is fill for the connections of tests, which have no file.
func (s *socket) fillPlain(wait bool) {
	c := s.chunks.get()
	if !wait {
		_ = s.SetReadDeadline(time.Now())
		defer s.SetReadDeadline(time.Time{})
	}
	n, err := s.Conn.Read(c[:])
	s.err = err
	if !wait && errors.Is(err, os.ErrDeadlineExceeded) {
		s.err = nil
	}
	if n > 0 {
		s.chunk, s.start, s.end = c, 0, n
		return
	}
	s.chunks.put(c)
}

// release puts the chunk back into the pool.
func (s *socket) release() {
	if s.chunk != nil {
		s.chunks.put(s.chunk)
	}
	s.chunk, s.start, s.end = nil, 0, 0
}

// writeTogether writes p to conn, which is TLS on s. It writes many records at once,
// while crypto/tls alone writes each by itself.
func (s *socket) writeTogether(conn net.Conn, p []byte) error {
	if len(p) <= maxRecord || !s.records.on {
		_, err := conn.Write(p)
		return err
	}
	s.gathering.Lock()
	defer s.gathering.Unlock()
	s.writing.Lock()
	s.gathered, s.size = s.chunks.get(), 0
	s.writing.Unlock()
	_, err := conn.Write(p)
	if ferr := s.flush(); err == nil {
		err = ferr
	}
	return err
}

// closeWrite sends close_notify on conn, which is TLS on s, after a writeTogether that is
// under way: CloseWrite sets a deadline that would end it.
func (s *socket) closeWrite(conn *tls.Conn) error {
	s.gathering.Lock()
	defer s.gathering.Unlock()
	return conn.CloseWrite()
}

// flush writes the gathered records.
func (s *socket) flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.writeGathered()
	s.chunks.put(s.gathered)
	s.gathered = nil
	return s.broken
}

// writeGathered writes the gathered records. The caller holds writing.
func (s *socket) writeGathered() {
	if s.size == 0 || s.broken != nil {
		return
	}
	_, s.broken = s.Conn.Write(s.gathered[:s.size])
	s.size = 0
}

// Write implements net.Conn.
func (s *socket) Write(p []byte) (int, error) {
	gathered, err := s.gather(p)
	switch {
	case err != nil:
		return 0, err
	case gathered:
		return len(p), nil
	default:
		return s.Conn.Write(p)
	}
}

// gather keeps p for flush if writeTogether runs, and reports whether it has.
func (s *socket) gather(p []byte) (bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.gathered == nil || s.broken != nil {
		return false, s.broken
	}
	if s.size+len(p) > MaxPiece {
		s.writeGathered()
	}
	s.size += copy(s.gathered[s.size:], p) // a record fits into what is free now
	return true, s.broken
}

// framing follows the TLS records in a stream of bytes.
type framing struct {
	on   bool
	left int // bytes until the current record ends; 0 if a header is next
	head [recordHeader]byte
	seen int // bytes of head that have come, if the header comes in pieces
}

// next copies from src, which is not empty, to dst, up to the end of a record at most. It
// returns how many bytes it has copied.
func (f *framing) next(dst, src []byte) int {
	switch {
	case !f.on:
		return copy(dst, src)
	case f.left > 0:
	case f.seen == 0 && len(src) >= recordHeader:
		f.left = recordHeader + recordLength(src)
	default:
		n := copy(dst, src[:min(len(src), recordHeader-f.seen)])
		copy(f.head[f.seen:], src[:n])
		if f.seen += n; f.seen == recordHeader {
			f.left, f.seen = recordLength(f.head[:]), 0
		}
		return n
	}
	n := copy(dst, src[:min(len(src), f.left)])
	f.left -= n
	return n
}

func recordLength(header []byte) int { return int(header[3])<<8 | int(header[4]) }
