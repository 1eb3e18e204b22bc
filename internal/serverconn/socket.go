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
	// MaxPiece is how many bytes are taken from a socket at once, at most, and how
	// many are received or written at once. Each piece costs system calls, and a
	// waking up or two, here and at the app.
	MaxPiece = tunnel.MaxReceive
	// recordHeader is the size of a TLS record's header, whose last two bytes
	// are the length of the rest (RFC 8446, section 5.1).
	recordHeader = 5
	// maxRecord is how many bytes crypto/tls puts into one record at most.
	maxRecord = 16 << 10
)

// chunk is memory for what one read of a socket brings.
type chunk [MaxPiece]byte

// chunks are those that are not in use. The zero value is ready; it is safe for
// concurrent use.
type chunks struct{ pool sync.Pool }

func (c *chunks) get() *chunk {
	if p, ok := c.pool.Get().(*chunk); ok {
		return p
	}
	return new(chunk)
}

func (c *chunks) put(p *chunk) { c.pool.Put(p) }

// socket is a connection to a server, below TLS where there is any. It reads in
// large pieces: crypto/tls by itself asks the kernel for little more than a
// record, of which upstream's agent fills but 4 KiB. It holds memory only for
// bytes that have arrived and were not read yet, not while it waits for some.
// writeTogether does the same for records that are written.
//
// Writing is safe for concurrent use, reading is not.
type socket struct {
	net.Conn
	chunks *chunks
	file   bool          // Conn has a file; if not, a read waits with a chunk
	reader sockio.Reader // of that file

	chunk      *chunk // holds what has arrived and was not read; nil where nothing has
	start, end int    // of that
	err        error  // how the connection has ended behind it
	hurried    bool   // Read does not wait
	records    framing

	together sync.Mutex // held by writeTogether: one caller gathers after the other
	writing  sync.Mutex // guards what follows, and is held while what was gathered is written
	gathered *chunk     // what writeTogether has to write; nil where it does not run
	size     int        // of that
	broken   error      // writing has failed amid records
}

// past is a deadline that ends a read that is under way.
var past = time.Unix(1, 0)

// newSocket returns a socket that reads conn. framed says that TLS reads it in
// turn: then no Read goes beyond the end of a record, and what TLS has taken is
// never more than one.
func newSocket(conn net.Conn, framed bool, c *chunks) *socket {
	s := &socket{Conn: conn, chunks: c, records: framing{on: framed}}
	if file, ok := conn.(syscall.Conn); ok {
		raw, _ := file.SyscallConn() // fails for a nil connection only
		s.file = true
		s.reader.Init(conn, raw, s)
	}
	return s
}

// errNothingYet is what a hurried Read returns where it would have to wait. It
// is temporary, so that crypto/tls goes on where it was.
var errNothingYet net.Error = nothingYet{}

type nothingYet struct{}

func (nothingYet) Error() string   { return "nothing has arrived yet" }
func (nothingYet) Timeout() bool   { return true }
func (nothingYet) Temporary() bool { return true }

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	if s.empty() && !s.hurried {
		s.await()
	}
	if s.empty() {
		err := s.err
		s.err = nil // whoever reads on finds out again
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

func (s *socket) fill(patient bool) {
	if !s.empty() || s.err != nil {
		return
	}
	var n int
	switch {
	case !s.file:
		s.fillPlain(patient)
		return
	case patient:
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

// fillPlain is fill for connections without a file, which tests have.
func (s *socket) fillPlain(patient bool) {
	c := s.chunks.get()
	if !patient {
		_ = s.SetReadDeadline(past)
		defer s.SetReadDeadline(time.Time{})
	}
	n, err := s.Conn.Read(c[:])
	s.err = err
	if !patient && errors.Is(err, os.ErrDeadlineExceeded) {
		s.err = nil
	}
	if n > 0 {
		s.chunk, s.start, s.end = c, 0, n
		return
	}
	s.chunks.put(c)
}

// release gives the chunk back.
func (s *socket) release() {
	if s.chunk != nil {
		s.chunks.put(s.chunk)
	}
	s.chunk, s.start, s.end = nil, 0, 0
}

// writeTogether writes p to conn, which is TLS on s. The records that it becomes
// are written at once, where crypto/tls writes each by itself.
func (s *socket) writeTogether(conn net.Conn, p []byte) error {
	if len(p) <= maxRecord || !s.records.on {
		_, err := conn.Write(p)
		return err
	}
	s.together.Lock()
	defer s.together.Unlock()
	s.writing.Lock()
	s.gathered, s.size = s.chunks.get(), 0
	s.writing.Unlock()
	_, err := conn.Write(p)
	if ferr := s.flush(); err == nil {
		err = ferr
	}
	return err
}

// closeWrite is CloseWrite of conn, which is TLS on s, behind what writeTogether
// has begun: close_notify sets a deadline for all that is not written by then.
func (s *socket) closeWrite(conn *tls.Conn) error {
	s.together.Lock()
	defer s.together.Unlock()
	return conn.CloseWrite()
}

// flush writes what was gathered.
func (s *socket) flush() error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.writeGathered()
	s.chunks.put(s.gathered)
	s.gathered = nil
	return s.broken
}

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

// gather keeps p for flush, where that is to be called.
func (s *socket) gather(p []byte) (bool, error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	if s.gathered == nil || s.broken != nil {
		return false, s.broken
	}
	if s.size+len(p) > MaxPiece {
		s.writeGathered()
	}
	s.size += copy(s.gathered[s.size:], p) // a record is no larger than what is free by now
	return true, s.broken
}

// framing follows the TLS records in a stream of bytes.
type framing struct {
	on   bool
	left int // bytes until the current record ends; 0 where a header is next
	head [recordHeader]byte
	seen int // bytes of a header that came in pieces
}

// next copies from src, which is not empty, to dst, at most up to the end of a
// record, and returns how many bytes.
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
