// SPDX-License-Identifier: Apache-2.0

package relay

import (
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// appReader reads from an app's socket. It gets a buffer only when there are bytes to
// read.
type appReader struct {
	reader  sockio.Reader
	buffers *Buffers
	account *quota.Account // counts buf while it holds bytes

	buf     *uploadBuffer // nil if none is held
	counted int           // bytes that are counted in account for buf
}

func newAppReader(r *relay) *appReader {
	a := &appReader{buffers: r.opt.Buffers, account: r.account}
	a.reader.Init(r.app, r.raw, a)
	return a
}

// read waits for bytes and reads them into buf, which stays valid until release. Its
// errors are those of a net.Conn.
func (a *appReader) read() (int, error) {
	n, err := a.reader.Read()
	if n > 0 {
		a.counted = a.buf.cost()
		a.account.Take(a.counted)
	}
	return n, err
}

// Take implements sockio.Memory.
func (a *appReader) Take() []byte {
	a.buf = a.buffers.getUploadBuffer()
	return a.buf.bytes
}

// GiveBack implements sockio.Memory.
func (a *appReader) GiveBack() { a.release() }

// release returns the buffer to the pool.
func (a *appReader) release() {
	if a.buf == nil {
		return
	}
	if a.counted > 0 {
		a.account.Give(a.counted)
		a.counted = 0
	}
	a.buffers.putUploadBuffer(a.buf)
	a.buf = nil
}
