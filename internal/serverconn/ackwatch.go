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

// ackInterval is the time between two looks at the connections that wait for an
// acknowledgement.
const ackInterval = ackTimeout / 20

// ackWatch ends connections to servers whose kernels acknowledge nothing. It looks
// only at connections on which something was sent, until it is acknowledged; TCP
// keepalive covers the others. It has no timer while there are none. The zero
// value is ready.
type ackWatch struct {
	mu      sync.Mutex // guards what follows, up to stopped
	waiting []*watchedConn
	timer   *time.Timer // nil before the first
	running bool
	stopped bool

	looking sync.Mutex // held while it looks, so that stop can wait for that
}

// add puts c among those that are looked at.
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
		w.timer = time.AfterFunc(ackInterval, w.look)
	default:
		w.timer.Reset(ackInterval)
	}
	w.running = true
}

// look looks at each connection once, and sees to the next look.
func (w *ackWatch) look() {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.mu.Lock()
	conns := w.waiting
	w.waiting = nil
	w.mu.Unlock()
	still := conns[:0]
	for _, c := range conns {
		if c.look() {
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

// stop ends the watch, and waits for a look that is under way.
func (w *ackWatch) stop() {
	w.mu.Lock()
	w.stopped = true
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	w.looking.Lock()
	defer w.looking.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = nil
}

// watchedConn is a TCP connection to a server that an ackWatch ends. Its errors
// name the cause where the server's kernel is silent.
type watchedConn struct {
	net.Conn // tcp, without the methods by which Write could be avoided
	tcp      *net.TCPConn
	raw      syscall.RawConn // of tcp
	watch    *ackWatch
	silent   atomic.Pointer[silentError] // why the watch has ended it

	mu      sync.Mutex // guards what follows
	writing int        // writes under way
	waiting bool       // among those that the watch looks at
	acks    ackClock
}

func newWatchedConn(tcp *net.TCPConn, w *ackWatch) *watchedConn {
	raw, _ := tcp.SyscallConn() // fails for a nil connection only
	return &watchedConn{Conn: tcp, tcp: tcp, raw: raw, watch: w}
}

// silentError is the end of a connection to a server whose kernel acknowledges
// nothing.
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

// CloseWrite is net.TCPConn's.
func (c *watchedConn) CloseWrite() error {
	c.beginWrite()
	defer c.endWrite()
	return c.explain(c.tcp.CloseWrite())
}

// Close implements net.Conn. What is not acknowledged then is the kernel's alone,
// which gives it up after ackTimeout without progress.
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

// LimitSilence sets TCP_USER_TIMEOUT of a TCP connection that Connect has returned; 0
// is none.
func LimitSilence(conn net.Conn, d time.Duration) {
	if c, ok := Unwrap(conn).(*watchedConn); ok {
		_ = c.limitSilence(d)
	}
}

// limitSilence sets TCP_USER_TIMEOUT (tcp(7)); 0 is none.
func (c *watchedConn) limitSilence(d time.Duration) error {
	return sockio.Control(c.raw, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}

// beginWrite has the watch look at c, at least until endWrite.
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

// look ends c where the server's kernel is silent. It reports whether to look
// again.
func (c *watchedConn) look() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var outstanding bool
	info, err := sockio.TCPInfo(c.raw)
	if err == nil {
		var silent time.Duration
		outstanding, silent = c.acks.look(time.Now(), info)
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

// explain returns err, or what is behind it.
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

// watchedRaw is a watchedConn's file.
type watchedRaw struct{ conn *watchedConn }

// Control implements syscall.RawConn.
func (r watchedRaw) Control(f func(fd uintptr)) error { return r.conn.raw.Control(f) }

// Read implements syscall.RawConn. f's own errors are explained by explain.
func (r watchedRaw) Read(f func(fd uintptr) bool) error {
	return r.conn.explain(r.conn.raw.Read(f))
}

// Write implements syscall.RawConn.
func (r watchedRaw) Write(f func(fd uintptr) bool) error {
	r.conn.beginWrite()
	defer r.conn.endWrite()
	return r.conn.explain(r.conn.raw.Write(f))
}
