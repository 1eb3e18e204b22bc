// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// maxEndDelay is the longest time from a server's answer to the end of the
	// connection for which targetClosed may be true. In the case that it is for, the
	// end follows the answer directly.
	maxEndDelay = 200 * time.Millisecond
	// endCheckTimeout bounds the check whether the server is still there. The check may
	// be slow: for an app, a later end is better than a reset after a complete answer.
	endCheckTimeout = 5 * time.Second
	// listenTimeout bounds the connect to a server that did not answer in that time.
	listenTimeout = time.Second
)

// connection is a connection in http-connect mode. The bytes behind the server's answer
// are the target's, and the end of the TLS stream is the target's end.
type connection struct {
	dialer   *Dialer
	conn     net.Conn
	arriving *serverconn.Conn // reads conn behind the answer; guarded by receiving

	receiving chanMutex // guards arriving and the last fields; Receive holds it while it waits
	closing   atomic.Bool

	noAnswer bool           // not one byte has come
	fit      serverconn.Fit // what the answer tells of the server's kind
	answered time.Time      // when the answer came, or bytes of the target ahead of it
	sent     atomic.Bool    // the app has sent something

	// Guarded by receiving:
	received bool         // the target has sent something
	pending  []byte       // bytes of the target that came with the answer
	ahead    *aheadFilter // not nil if the target spoke first and the 200 is still to come
	ended    error        // the error that has ended the stream behind pending, or nil
	verdict  error        // what Receive returns from now on
}

func newConnection(d *Dialer, arriving *serverconn.Conn) *connection {
	return &connection{dialer: d, conn: arriving.Conn, arriving: arriving, receiving: newChanMutex()}
}

// Server implements Conn.
func (c *connection) Server() string { return c.dialer.Server.Name }

// Send implements Conn.
func (c *connection) Send(p []byte) error {
	c.sent.Store(true)
	if err := c.arriving.Send(p); err != nil {
		return fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
	}
	return nil
}

// Receive implements Conn.
func (c *connection) Receive() ([]byte, error) {
	c.receiving.Lock()
	defer c.receiving.Unlock()
	for {
		data, err := c.next()
		c.received = c.received || len(data) > 0
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
	if c.ended != nil {
		return c.end(c.ended)
	}
	data, err := c.arriving.Next()
	if c.ahead != nil {
		data = c.ahead.pass(data)
		if c.ahead.found {
			c.ahead = nil
		} else if c.ahead.overdue() {
			return c.end(tunnel.ErrProtocol)
		}
	}
	if err != nil {
		return c.end(err)
	}
	return data, nil
}

// end sets the verdict on a stream that ended with err. It returns bytes that were kept
// until the end.
func (c *connection) end(err error) ([]byte, error) {
	switch {
	case c.closing.Load():
		c.verdict = tunnel.ErrClosed
	case errors.Is(err, io.EOF), c.targetClosed(err):
		c.verdict = io.EOF
	case errors.Is(err, tunnel.ErrProtocol):
		c.verdict = fmt.Errorf("%w: no answer to CONNECT in the first %d bytes", tunnel.ErrProtocol, maxAhead)
	default:
		c.verdict = fmt.Errorf("%w: %w", tunnel.ErrBroken, err)
	}
	if c.verdict == io.EOF && c.ahead != nil {
		return c.ahead.flush(), nil
	}
	return nil, c.verdict
}

// targetClosed reports whether the target has closed, although the stream ended with a
// FIN and no close_notify.
//
// If a target closes at once, the server closes the connection while another of its
// goroutines writes the 200. Then crypto/tls leaves out close_notify (tls.Conn.Close; 3
// of 2,000 dials to such a target). The bytes of the target were written before. A
// server that was killed leaves a FIN alone as well, but is not there any more.
//
// Behind a balancer another server answers in its place. So the answer is true only for
// a target that sent something unasked. What an app has sent, or waits for, may be lost
// with a killed server.
func (c *connection) targetClosed(err error) bool {
	if !errors.Is(err, serverconn.ErrNoCloseNotify) || time.Since(c.answered) > maxEndDelay {
		return false
	}
	if c.sent.Load() || !c.received && c.ahead == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), endCheckTimeout)
	defer cancel()
	conn, _, lost := c.dialer.owner.Connect(ctx)
	if lost != nil {
		return serverconn.Interrupted(ctx) && c.dialer.listens()
	}
	_ = conn.Close()
	return true
}

// listens reports whether the endpoint's port is open, even if its process answers
// nothing. A server that hangs still has its port, and one that was killed does not.
func (d *Dialer) listens() bool {
	ctx, cancel := context.WithTimeout(context.Background(), listenTimeout)
	defer cancel()
	conn, err := d.ConnectTCP(ctx, d.owner.Several())
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// Close implements Conn.
func (c *connection) Close() error {
	if c.closing.Swap(true) {
		return nil
	}
	c.dialer.shared.Background.Go(c.finish)
	return nil
}

// finish ends our direction, which the server passes on as CLOSE_REQ. Then it reads
// until the server has ended the connection. A close with unread bytes would be a
// reset, and the server would miss our end.
func (c *connection) finish() {
	_ = c.conn.SetDeadline(time.Now().Add(konnectivity.CloseGrace))
	awaitFIN := serverconn.EndWriting(c.conn)
	c.receiving.Lock()
	c.arriving.Leave() // the relay may still pass on the bytes that Receive has returned
	for c.verdict == nil {
		_, _ = c.next()
	}
	c.receiving.Unlock()
	awaitFIN()
	_ = c.conn.Close()
	c.dialer.owner.ConnectionEnded()
}
