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

// Memory is where a Reader gets what it reads into.
type Memory interface {
	// Take returns memory for one read.
	Take() []byte
	// GiveBack takes back what Take has returned: nothing was read into it.
	GiveBack()
}

// Reader reads from a socket as a net.Conn does, but takes memory only for as long
// as a read needs it. A connection that waits for bytes holds none.
//
// It is not safe for concurrent use.
type Reader struct {
	conn   net.Conn        // for the addresses in errors
	raw    syscall.RawConn // of conn
	memory Memory
	try    func(fd uintptr) bool // tryOnce; made once: it would escape each time

	wait bool
	n    int
	err  error
}

// Init makes r read from raw, which is conn's, into what memory gives it.
func (r *Reader) Init(conn net.Conn, raw syscall.RawConn, memory Memory) {
	r.conn, r.raw, r.memory = conn, raw, memory
	r.try = r.tryOnce
}

// Read waits for bytes. It returns how many it has read into the memory taken last.
// Its errors are those of a net.Conn.
func (r *Reader) Read() (int, error) { return r.read(true) }

// TryRead is Read, but does not wait: it returns 0 and no error if nothing has
// arrived yet.
func (r *Reader) TryRead() (int, error) { return r.read(false) }

func (r *Reader) read(wait bool) (int, error) {
	r.wait, r.n, r.err = wait, 0, nil
	if err := r.raw.Read(r.try); err != nil {
		return 0, err // closed, or past its deadline
	}
	return r.n, r.err
}

// tryOnce reads once. It returns false if the read has to be tried again when
// something has arrived.
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
