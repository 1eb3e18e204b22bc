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
	// haste is how soon after its answer a server that ends a connection may have
	// been in its own way: the end comes right behind it.
	haste = 200 * time.Millisecond
	// hasteCheck bounds the look whether it is still there. It may be slow: an
	// app that waits a little longer for its end is better off than one that is
	// reset behind a complete answer.
	hasteCheck = 5 * time.Second
	// listenCheck bounds the look at a server that did not answer in that time.
	listenCheck = time.Second
)

// connection is a connection in http-connect mode. After the server's answer
// the bytes are the target's, and the end of the TLS stream is the target's
// end.
type connection struct {
	endpoint *Dialer
	conn     net.Conn
	arriving *serverconn.Conn // reads conn behind the answer; under receiving

	receiving chanMutex
	closing   atomic.Bool

	unheard  bool        // nothing has ever come
	answered time.Time   // when the server, or the target ahead of it, first spoke
	spoke    atomic.Bool // whether the app has sent anything

	// Under receiving:
	heard   bool         // whether the target has sent anything
	pending []byte       // bytes of the target that came with the answer
	ahead   *aheadFilter // set where the target spoke first and the 200 is still to come
	ended   error        // how the stream has ended behind pending, if it has
	verdict error        // what Receive returns from now on
}

func newConnection(e *Dialer, arriving *serverconn.Conn) *connection {
	return &connection{endpoint: e, conn: arriving.Conn, arriving: arriving, receiving: newChanMutex()}
}

// Server implements Conn.
func (c *connection) Server() string { return c.endpoint.Server.Name }

// Send implements Conn.
func (c *connection) Send(p []byte) error {
	c.spoke.Store(true)
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
		c.heard = c.heard || len(data) > 0
		if len(data) > 0 && !c.closing.Load() {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// next returns data, possibly none, or why there will be no more.
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

// end settles the verdict on a stream that ended with err, and returns what was
// held back until the end.
func (c *connection) end(err error) ([]byte, error) {
	switch {
	case c.closing.Load():
		c.verdict = tunnel.ErrClosed
	case errors.Is(err, io.EOF), c.closedInHaste(err):
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

// closedInHaste reports whether a stream that ended with a bare FIN has ended
// for the target's sake all the same.
//
// Where the target closes at once, the server's close meets its own write of the
// 200 answer in another goroutine, and crypto/tls then leaves close_notify out
// (tls.Conn.Close; 3 of 2,000 dials to such a target). What the target said was
// written before. A server that was killed leaves a bare FIN as well, but is not
// there any more.
//
// Behind a balancer another one answers in its place. So this is believed only
// of a connection whose target said something, and said it unasked: what an app
// has sent, or waits for, is what a killed server may have lost.
func (c *connection) closedInHaste(err error) bool {
	if !errors.Is(err, serverconn.ErrNoCloseNotify) || time.Since(c.answered) > haste {
		return false
	}
	if c.spoke.Load() || !c.heard && c.ahead == nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), hasteCheck)
	defer cancel()
	conn, _, lost := c.endpoint.owner.NewConnection(ctx)
	if lost != nil {
		return serverconn.Interrupted(ctx) && c.endpoint.listens()
	}
	_ = conn.Close()
	return true
}

// listens reports whether somebody has the endpoint's port open, even one who
// answers nothing: a server that hangs is there, one that was killed is not.
func (e *Dialer) listens() bool {
	ctx, cancel := context.WithTimeout(context.Background(), listenCheck)
	defer cancel()
	conn, err := e.ConnectTCP(ctx, e.owner.Several())
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
	c.endpoint.shared.Background.Go(c.hangUp)
	return nil
}

// hangUp says that nothing will follow, which the server passes on as
// CLOSE_REQ, and reads until the server has closed as well: a close with unread
// bytes would be a reset, and the server would miss its end.
func (c *connection) hangUp() {
	_ = c.conn.SetDeadline(time.Now().Add(konnectivity.CloseGrace))
	awaitFIN := serverconn.EndWriting(c.conn)
	c.receiving.Lock()
	c.arriving.Leave() // what Receive last returned may still be on its way to the app
	for c.verdict == nil {
		_, _ = c.next()
	}
	c.receiving.Unlock()
	awaitFIN()
	_ = c.conn.Close()
	c.endpoint.owner.ConnectionEnded()
}
