// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Memory provides the buffers into which a Reader reads.
type Memory interface {
	// Take returns a buffer for one read.
	Take() []byte
	// GiveBack takes back the buffer that Take has returned. Nothing was read into it.
	GiveBack()
}

// Reader reads from a socket like a net.Conn, but takes memory only while a read needs
// it. A connection that waits for bytes holds none.
//
// It is not safe for concurrent use.
type Reader struct {
	conn   net.Conn        // for the addresses in errors
	raw    syscall.RawConn // of conn
	memory Memory
	try    func(fd uintptr) bool // tryOnce; made once, because the method value would be allocated each time

	wait bool
	n    int
	err  error
}

// Init makes r read from raw, which belongs to conn, into buffers of memory.
func (r *Reader) Init(conn net.Conn, raw syscall.RawConn, memory Memory) {
	r.conn, r.raw, r.memory = conn, raw, memory
	r.try = r.tryOnce
}

// Read waits for bytes, and reads them into the buffer of the last Take. It returns
// their number. Its errors are those of a net.Conn.
func (r *Reader) Read() (int, error) { return r.read(true) }

// TryRead reads without waiting. It returns 0 and no error if nothing has arrived.
func (r *Reader) TryRead() (int, error) { return r.read(false) }

func (r *Reader) read(wait bool) (int, error) {
	r.wait, r.n, r.err = wait, 0, nil
	if err := r.raw.Read(r.try); err != nil {
		return 0, err // closed, or past its deadline
	}
	return r.n, r.err
}

// tryOnce reads once. It returns false if the read must be repeated after bytes arrive.
func (r *Reader) tryOnce(fd uintptr) bool {
	p := r.memory.Take()
	n, err := retry(func() (int, error) { return unix.Read(int(fd), p) })
	if n > 0 {
		r.n = n
		return true
	}
	r.memory.GiveBack()
	switch {
	case errors.Is(err, unix.EAGAIN):
		return !r.wait
	case err != nil:
		r.err = &net.OpError{
			Op: "read", Net: r.conn.LocalAddr().Network(), Source: r.conn.LocalAddr(), Addr: r.conn.RemoteAddr(),
			Err: os.NewSyscallError("read", err),
		}
	default:
		r.err = io.EOF
	}
	return true
}
