// SPDX-License-Identifier: Apache-2.0

package sockio

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Writer writes to a socket without waiting.
//
// It is not safe for concurrent use.
type Writer struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // tryOnce; made once, because the method value would be allocated each time

	p   []byte
	n   int
	err error
}

// Init makes w write to raw.
func (w *Writer) Init(raw syscall.RawConn) {
	w.raw = raw
	w.try = w.tryOnce
}

// TryWrite writes as much of p as the kernel accepts at once, and returns the number of
// bytes. It returns 0 and no error if the kernel accepts none.
func (w *Writer) TryWrite(p []byte) (int, error) {
	w.p, w.n, w.err = p, 0, nil
	err := w.raw.Write(w.try)
	w.p = nil
	if err != nil {
		return 0, err
	}
	return w.n, w.err
}

func (w *Writer) tryOnce(fd uintptr) bool {
	n, err := retry(func() (int, error) { return unix.Write(int(fd), w.p) })
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	w.n, w.err = max(n, 0), err
	return true
}
