// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/sockio"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

var (
	_ tunnel.Carrier   = (*connection)(nil)
	_ tunnel.Breakable = (*connection)(nil)
)

// closeGrace bounds the wait for the proxy's end of a connection that was closed.
const closeGrace = 2 * time.Second

// connection is a connection through a standard proxy. The bytes behind the proxy's answer
// are the target's. Bytes that are not received stay in the kernels on the way, and stop the
// target.
type connection struct {
	dialer   *Dialer
	conn     net.Conn
	arriving *serverconn.Conn // reads conn behind the answer; guarded by receiving

	// receiving has room for one element, which the goroutine that reads puts there.
	// Receive holds it while it waits. See chanMutex of package connectmode.
	receiving chan struct{}
	closing   atomic.Bool

	noAnswer bool           // not one byte has come
	fit      serverconn.Fit // what the answer tells of the server's kind
	unsure   bool           // the answer may be that of a proxy-server of konnectivity
	custom   custom         // of the proxy

	// Guarded by receiving:
	pending []byte // bytes of the target that came with the answer
	verdict error  // what Receive returns from now on
}

func newConnection(d *Dialer, arriving *serverconn.Conn) *connection {
	return &connection{dialer: d, conn: arriving.Conn, arriving: arriving, receiving: make(chan struct{}, 1)}
}

// Server implements tunnel.Conn.
func (c *connection) Server() string { return c.dialer.Server.Name }

// Traits implements tunnel.Carrier. A server that may be a proxy-server is treated like one.
func (c *connection) Traits() tunnel.Traits {
	return tunnel.Traits{Backpressure: !c.unsure, HalfClose: c.custom.carriesHalfClose && !c.unsure}
}

// Send implements tunnel.Conn.
func (c *connection) Send(p []byte) error {
	if err := c.arriving.Send(p); err != nil {
		return fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
	}
	return nil
}

// Receive implements tunnel.Conn.
func (c *connection) Receive() ([]byte, error) {
	c.receiving <- struct{}{}
	defer func() { <-c.receiving }()
	for {
		data, err := c.next()
		if len(data) > 0 && !c.closing.Load() {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// next returns data, possibly none, or the error that ends the connection. The caller
// holds receiving.
func (c *connection) next() ([]byte, error) {
	if c.verdict != nil {
		return nil, c.verdict
	}
	if len(c.pending) > 0 {
		data := c.pending
		c.pending = nil
		return data, nil
	}
	data, err := c.arriving.Next()
	if err == nil {
		return data, nil
	}
	switch {
	case c.closing.Load():
		c.verdict = tunnel.ErrClosed
	case errors.Is(err, io.EOF):
		c.verdict = io.EOF
	case errors.Is(err, serverconn.ErrNoCloseNotify) && c.custom.endsBare:
		c.verdict = c.bareEnd()
	default:
		c.verdict = fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
	}
	return data, c.verdict
}

// bareEnd returns what the FIN of a proxy means that sends no close_notify. It is the
// target's end, unless the proxy is gone. If one process of several was killed, the others
// answer, and the FINs of that one cannot be told from ends.
func (c *connection) bareEnd() error {
	if err := c.dialer.answers(); err != nil {
		return fmt.Errorf("%w: the connection ended, and the proxy does not answer any more: %w", tunnel.ErrBroken, err)
	}
	return io.EOF
}

// Broken implements tunnel.Breakable: the proxy has reset the connection, or does not answer
// any more. A FIN, even without close_notify, stands behind bytes that were not received.
func (c *connection) Broken() bool {
	file, ok := serverconn.Unwrap(c.conn).(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := file.SyscallConn()
	return err == nil && sockio.HasError(raw)
}

// CloseWrite implements tunnel.Carrier.
func (c *connection) CloseWrite() error {
	if !c.Traits().HalfClose {
		return nil
	}
	if err := serverconn.CloseWrite(c.conn); err != nil {
		return fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
	}
	return nil
}

// Close implements tunnel.Conn.
func (c *connection) Close() error {
	if !c.closing.Swap(true) {
		c.dialer.shared.Background.Go(c.finish)
	}
	return nil
}

// Abort implements tunnel.Carrier. It resets the connection. The proxy may or may not reset
// the target, but close_notify would tell it that the app has sent everything. A server that
// may be a proxy-server of konnectivity is treated like one, and gets close_notify.
func (c *connection) Abort() error {
	if c.unsure {
		return c.Close()
	}
	if !c.closing.Swap(true) {
		_ = serverconn.Abort(c.conn)
		c.dialer.owner.ConnectionEnded()
	}
	return nil
}

// finish ends our direction, which the proxy passes on behind all that was sent. Then it
// reads until the proxy has ended the connection. A close with unread bytes would be a
// reset, and the proxy might drop what it has not passed on yet.
func (c *connection) finish() {
	_ = c.conn.SetDeadline(time.Now().Add(closeGrace))
	awaitFIN := serverconn.EndWriting(c.conn)
	c.receiving <- struct{}{}
	c.arriving.Leave() // the relay may still pass on the bytes that Receive has returned
	for c.verdict == nil {
		_, _ = c.next()
	}
	<-c.receiving
	awaitFIN()
	_ = c.conn.Close()
	c.dialer.owner.ConnectionEnded()
}
