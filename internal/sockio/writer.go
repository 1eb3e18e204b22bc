// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Writer writes to a socket, as far as possible without waiting.
//
// It is not safe for concurrent use.
type Writer struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // tryOnce; made once, because the method value would be allocated each time

	wait bool
	p    []byte // not written yet
	n    int    // written
	err  error
}

// Init makes w write to raw.
func (w *Writer) Init(raw syscall.RawConn) {
	w.raw = raw
	w.try = w.tryOnce
}

// TryWrite writes as much of p as the kernel accepts at once, and returns the number of
// bytes. It returns 0 and no error if the kernel accepts none.
func (w *Writer) TryWrite(p []byte) (int, error) { return w.write(p, false) }

// Write waits until the kernel has accepted all of p. It needs less stack than a
// net.Conn.
func (w *Writer) Write(p []byte) (int, error) { return w.write(p, true) }

func (w *Writer) write(p []byte, wait bool) (int, error) {
	w.wait, w.p, w.n, w.err = wait, p, 0, nil
	err := w.raw.Write(w.try)
	w.p = nil
	if err != nil {
		return w.n, err // closed, or past its deadline
	}
	return w.n, w.err
}

// tryOnce writes what the kernel accepts. It returns false if the write must be continued
// when the kernel accepts more.
func (w *Writer) tryOnce(fd uintptr) bool {
	for {
		n, err := retry(func() (int, error) { return unix.Write(int(fd), w.p) })
		if n > 0 {
			w.n += n
			w.p = w.p[n:]
		}
		switch {
		case errors.Is(err, unix.EAGAIN):
			return !w.wait
		case err != nil || !w.wait || len(w.p) == 0:
			w.err = err
			return true
		}
	}
}
