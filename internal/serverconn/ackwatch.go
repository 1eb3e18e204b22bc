// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/sockio"
)

// ackInterval is the time between two checks of the connections that wait for an
// acknowledgement.
const ackInterval = ackTimeout / 20

// ackWatch ends connections to servers whose kernels acknowledge nothing. It checks a
// connection from a write until all is acknowledged. TCP keepalive covers the others.
// Without such connections the watch runs no timer. The zero value is ready.
type ackWatch struct {
	mu      sync.Mutex // guards the fields up to stopped
	waiting []*watchedConn
	timer   *time.Timer // nil before the first connection
	running bool
	stopped bool

	checking sync.Mutex // is held during a check, so that stop can wait for its end
}

// add has the watch check c from now on.
func (w *ackWatch) add(c *watchedConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped {
		return
	}
	w.waiting = append(w.waiting, c)
	switch {
	case w.running:
	case w.timer == nil:
		w.timer = time.AfterFunc(ackInterval, w.check)
	default:
		w.timer.Reset(ackInterval)
	}
	w.running = true
}

// check checks each connection once, and sets the timer for the next check.
func (w *ackWatch) check() {
	w.checking.Lock()
	defer w.checking.Unlock()
	w.mu.Lock()
	conns := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	still := conns[:0]
	for _, c := range conns {
		if c.check() {
			still = append(still, c)
		}
	}
	clear(conns[len(still):])
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(still, w.waiting...)
	w.running = len(w.waiting) > 0 && !w.stopped
	if w.running {
		w.timer.Reset(ackInterval)
	}
}

// stop ends the watch, and waits for a check that is under way.
func (w *ackWatch) stop() {
	w.mu.Lock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.checking.Lock()
	defer w.checking.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = nil
}

// watchedConn is a TCP connection to a server that an ackWatch may end. Its errors say if
// the server's kernel was silent.
type watchedConn struct {
	net.Conn // tcp, without the methods that write in another way than Write
	tcp      *net.TCPConn
	raw      syscall.RawConn // of tcp
	watch    *ackWatch
	silent   atomic.Pointer[silentError] // set when the watch ends the connection

	mu      sync.Mutex // guards the fields below
	writing int        // writes under way
	waiting bool       // the watch checks the connection
	acks    ackClock
}

func newWatchedConn(tcp *net.TCPConn, w *ackWatch) *watchedConn {
	raw, _ := tcp.SyscallConn() // fails for a nil connection only
	return &watchedConn{Conn: tcp, tcp: tcp, raw: raw, watch: w}
}

// silentError is the error of a connection that was ended because the server's kernel
// acknowledges nothing.
type silentError struct {
	server net.Addr
	silent time.Duration
}

// Error implements error.
func (e *silentError) Error() string {
	return fmt.Sprintf("the kernel of proxy-server %s has acknowledged nothing for %s", e.server, e.silent.Round(time.Second))
}

// Read implements net.Conn.
func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.tcp.Read(p)
	return n, c.explain(err)
}

// Write implements net.Conn.
func (c *watchedConn) Write(p []byte) (int, error) {
	c.beginWrite()
	defer c.endWrite()
	n, err := c.tcp.Write(p)
	return n, c.explain(err)
}

// CloseWrite sends FIN, like net.TCPConn's.
func (c *watchedConn) CloseWrite() error {
	c.beginWrite()
	defer c.endWrite()
	return c.explain(c.tcp.CloseWrite())
}

// SetLinger sets SO_LINGER, like net.TCPConn's.
func (c *watchedConn) SetLinger(sec int) error { return c.tcp.SetLinger(sec) }

// Close implements net.Conn. Bytes that are not acknowledged by then are left to our
// kernel, which drops them after ackTimeout without progress.
func (c *watchedConn) Close() error {
	c.mu.Lock()
	waiting := c.waiting
	c.mu.Unlock()
	if waiting {
		_ = c.limitSilence(ackTimeout)
	}
	return c.tcp.Close()
}

// SetReadBuffer sets SO_RCVBUF of a TCP connection that Connect has returned, in bytes.
func SetReadBuffer(conn net.Conn, bytes int) {
	if c, ok := Unwrap(conn).(*watchedConn); ok {
		_ = c.tcp.SetReadBuffer(bytes)
	}
}

// LimitSilence sets TCP_USER_TIMEOUT of a TCP connection that Connect has returned. 0
// means no limit.
func LimitSilence(conn net.Conn, d time.Duration) {
	if c, ok := Unwrap(conn).(*watchedConn); ok {
		_ = c.limitSilence(d)
	}
}

// limitSilence sets TCP_USER_TIMEOUT (tcp(7)). 0 means no limit.
func (c *watchedConn) limitSilence(d time.Duration) error {
	return sockio.Control(c.raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}

// beginWrite has the watch check c, at least until endWrite.
func (c *watchedConn) beginWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing++
	if !c.waiting {
		c.waiting = true
		c.watch.add(c)
	}
}

func (c *watchedConn) endWrite() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writing--
}

// check ends c if the server's kernel is silent. It reports whether to check again.
func (c *watchedConn) check() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var outstanding bool
	info, err := sockio.TCPInfo(c.raw)
	if err == nil {
		var silent time.Duration
		outstanding, silent = c.acks.update(time.Now(), info)
		if silent > 0 {
			c.silent.Store(&silentError{c.RemoteAddr(), silent})
			_ = c.tcp.SetLinger(0)
			_ = c.tcp.Close()
			outstanding = false
		}
	}
	c.waiting = err == nil && (outstanding || c.writing > 0)
	return c.waiting
}

// explain returns err, or the cause of it if the server's kernel was silent.
func (c *watchedConn) explain(err error) error {
	if err == nil {
		return nil
	}
	if silent := c.silent.Load(); silent != nil {
		return silent
	}
	if errors.Is(err, unix.ETIMEDOUT) {
		return fmt.Errorf("the kernel of proxy-server %s does not answer: %w", c.RemoteAddr(), err)
	}
	return err
}

// SyscallConn implements syscall.Conn.
func (c *watchedConn) SyscallConn() (syscall.RawConn, error) { return watchedRaw{c}, nil }

// watchedRaw is the file of a watchedConn.
type watchedRaw struct{ conn *watchedConn }

// Control implements syscall.RawConn.
func (r watchedRaw) Control(f func(fd uintptr)) error { return r.conn.raw.Control(f) }

// Read implements syscall.RawConn. A caller passes errors that f has met to explain.
func (r watchedRaw) Read(f func(fd uintptr) bool) error {
	return r.conn.explain(r.conn.raw.Read(f))
}

// Write implements syscall.RawConn.
func (r watchedRaw) Write(f func(fd uintptr) bool) error {
	r.conn.beginWrite()
	defer r.conn.endWrite()
	return r.conn.explain(r.conn.raw.Write(f))
}
