// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"errors"
	"net"
)

// gatherer reads a connection in pieces of all that has arrived, where crypto/tls
// returns one record at a time. Each piece costs its receiver a write and,
// perhaps, somebody's waking up. It never waits for more than the first byte.
type gatherer struct {
	conn   net.Conn // TLS on socket, or socket itself
	socket *socket
	chunk  *chunk // holds the last piece; nil while there is none
	more   bool   // conn may hold bytes already
	err    error  // how it has ended, for good
}

// newGatherer returns one that reads conn, from which others may have read
// before. The result's conn is what to write to.
func newGatherer(conn net.Conn, c *chunks) *gatherer {
	if t, ok := conn.(*tls.Conn); ok {
		if s := socketUnder(t); s != nil {
			return &gatherer{conn: conn, socket: s, more: true}
		}
	}
	s := newSocket(conn, false, c)
	return &gatherer{conn: s, socket: s}
}

// socketUnder returns the socket under t, or nil where connectTo has not made it.
func socketUnder(t *tls.Conn) *socket {
	if f, ok := t.NetConn().(fullStop); ok {
		s, _ := f.Conn.(*socket)
		return s
	}
	return nil
}

// next returns what has arrived, at least one byte, valid until the next call.
func (g *gatherer) next() ([]byte, error) {
	for g.err == nil {
		if !g.more {
			g.release()
			g.socket.await()
		}
		if n := g.gather(); n > 0 {
			return g.chunk[:n], nil
		}
	}
	g.release()
	return nil, g.err
}

// gather reads what has arrived, possibly nothing that can be passed on yet.
func (g *gatherer) gather() (n int) {
	if g.chunk == nil {
		g.chunk = g.socket.chunks.get()
	}
	g.socket.hurried = true
	defer func() { g.socket.hurried = false }()
	for {
		m, err := g.conn.Read(g.chunk[n:])
		n += m
		if err != nil {
			g.more = false
			if !errors.Is(err, errNothingYet) {
				g.err = err
			}
			return n
		}
		if n == chunkSize {
			g.more = true
			return n
		}
		if g.socket.empty() {
			// TLS has passed on all that it has: it holds one record at most.
			g.more = false
			return n
		}
	}
}

// poll reports whether the connection stands, as far as can be told without
// waiting, and has brought nothing.
func (g *gatherer) poll() bool {
	g.socket.poll()
	n := g.gather()
	g.release()
	return n == 0 && g.err == nil
}

func (g *gatherer) release() {
	if g.chunk != nil {
		g.socket.chunks.put(g.chunk)
		g.chunk = nil
	}
}

// leave lets go of the last piece, which its receiver may still be reading.
func (g *gatherer) leave() { g.chunk = nil }
