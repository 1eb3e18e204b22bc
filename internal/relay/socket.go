// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/eintr"
	"github.com/shoot-proxy/proxy-client/internal/quota"
)

// appReader reads from an app's socket as its Read does, but into a buffer that
// it takes only when there are bytes.
type appReader struct {
	app     *net.TCPConn
	raw     syscall.RawConn // of app
	buffers *Buffers
	account *quota.Account        // counts buf while it holds bytes
	try     func(fd uintptr) bool // made once: it would escape each time

	buf     *uploadBuffer // nil where none is held
	counted int           // bytes that buf counts in account
	n       int
	err     error
}

func newAppReader(r *relay) *appReader {
	a := &appReader{app: r.app, raw: r.raw, buffers: r.opt.Buffers, account: r.account}
	a.try = a.tryOnce
	return a
}

// read waits for bytes and puts them into buf, until release. Its errors are those
// of a net.Conn.
func (a *appReader) read() (n int, err error) {
	a.n, a.err = 0, nil
	if err := a.raw.Read(a.try); err != nil {
		return 0, err // closed, or past its deadline
	}
	switch {
	case a.err != nil:
		return 0, &net.OpError{
			Op: "read", Net: "tcp", Source: a.app.LocalAddr(), Addr: a.app.RemoteAddr(),
			Err: os.NewSyscallError("read", a.err),
		}
	case a.n == 0:
		return 0, io.EOF
	default:
		return a.n, nil
	}
}

// tryOnce reads what is there. It reports whether that was anything, an end or an
// error included.
func (a *appReader) tryOnce(fd uintptr) bool {
	if a.buf == nil {
		a.buf = a.buffers.upload()
	}
	n, err := eintr.Retry(func() (int, error) { return unix.Read(int(fd), a.buf.bytes) })
	if errors.Is(err, unix.EAGAIN) {
		a.release()
		return false
	}
	a.n, a.err = max(n, 0), err
	if a.n > 0 {
		a.counted = a.buf.cost()
		a.account.Take(a.counted)
	}
	return true
}

// release gives the buffer back.
func (a *appReader) release() {
	if a.buf == nil {
		return
	}
	if a.counted > 0 {
		a.account.Give(a.counted)
		a.counted = 0
	}
	a.buffers.uploaded(a.buf)
	a.buf = nil
}

// appWriter writes to an app's socket without waiting.
type appWriter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool // made once: it would escape each time

	p   []byte
	n   int
	err error
}

func (w *appWriter) init(raw syscall.RawConn) {
	w.raw = raw
	w.try = w.tryOnce
}

// write writes what fits, which may be nothing.
func (w *appWriter) write(p []byte) (n int, err error) {
	w.p, w.n, w.err = p, 0, nil
	err = w.raw.Write(w.try)
	w.p = nil
	if err != nil {
		return 0, err
	}
	return w.n, w.err
}

func (w *appWriter) tryOnce(fd uintptr) bool {
	n, err := eintr.Retry(func() (int, error) { return unix.Write(int(fd), w.p) })
	if errors.Is(err, unix.EAGAIN) {
		err = nil
	}
	w.n, w.err = max(n, 0), err
	return true
}
