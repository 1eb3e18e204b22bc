// SPDX-License-Identifier: Apache-2.0

package proxy

import (
	"io"
	"net"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// maxEarly is how many bytes of an app are sent before its target has answered: a TLS
// ClientHello or an HTTP request. It is less than the first window of an exit's stream.
const maxEarly = 4 << 10

var earlyBuffers = sync.Pool{New: func() any { return new([maxEarly]byte) }}

// earlyBytes are the first bytes of an app. They stay in its socket until the dial has
// succeeded, so that another dial can send them if they were not passed on.
type earlyBytes struct {
	mu   sync.Mutex
	send func(p []byte) bool // nil if no bytes are asked for
	sent int
}

// offer sends what has arrived on fd, if that is asked for.
func (e *earlyBytes) offer(fd int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.send == nil {
		return
	}
	buffer := earlyBuffers.Get().(*[maxEarly]byte)
	defer earlyBuffers.Put(buffer)
	n, _, err := unix.Recvfrom(fd, buffer[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
	if err != nil || n <= 0 {
		return // nothing has arrived, or the relay will see why
	}
	if e.send(buffer[:n]) {
		e.sent = n
	}
	e.send = nil
}

func (e *earlyBytes) ask(send func(p []byte) bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.send = send
}

// Begin implements tunnel.Early.
func (w *appWatch) Begin(send func(p []byte) bool) {
	raw, err := w.app.SyscallConn()
	if err != nil {
		return
	}
	w.early.ask(send) // before offer, which sees only what has come by then
	_ = raw.Control(func(fd uintptr) { w.early.offer(int(fd)) })
	if w.early.asked() && w.timer.Stop() {
		go w.run()
	}
}

func (e *earlyBytes) asked() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.send != nil
}

// End implements tunnel.Early.
func (w *appWatch) End() { w.early.ask(nil) }

// Sent implements tunnel.Early.
func (w *appWatch) Sent() int {
	w.early.mu.Lock()
	defer w.early.mu.Unlock()
	return w.early.sent
}

// TakeBack implements tunnel.Early.
func (w *appWatch) TakeBack() {
	w.early.mu.Lock()
	defer w.early.mu.Unlock()
	w.early.sent = 0
}

// takeEarly takes from app what the dial has sent of it. It fails if the app has reset its
// connection.
func takeEarly(app *net.TCPConn, sent int) error {
	if sent == 0 {
		return nil
	}
	buffer := earlyBuffers.Get().(*[maxEarly]byte)
	defer earlyBuffers.Put(buffer)
	_, err := io.ReadFull(app, buffer[:sent])
	return err
}

var _ tunnel.Early = (*appWatch)(nil)
