// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"crypto/tls"
	"errors"
	"net"
)

// Conn is a connection that is read and written in large pieces. Next returns all that
// has arrived, while crypto/tls returns one record at a time. Larger pieces are better,
// because each costs its receiver a write and may wake the app. Next waits for one byte
// at most.
//
// Send is safe for concurrent use. The other methods are not.
type Conn struct {
	Conn   net.Conn // TLS on socket, or socket itself
	socket *socket
	chunk  *chunk // holds the last piece; nil while there is none
	more   bool   // Conn may hold bytes already
	err    error  // the error that has ended the connection
}

// newConn returns a Conn on conn, which Connect has returned. The caller may have read
// from conn before.
func newConn(conn net.Conn, pool *chunks) *Conn {
	if t, ok := conn.(*tls.Conn); ok {
		if s := socketUnder(t); s != nil {
			return &Conn{Conn: conn, socket: s, more: true}
		}
	}
	s := newSocket(conn, false, pool)
	return &Conn{Conn: s, socket: s}
}

// socketUnder returns the socket under t, or nil if Connect has not made t.
func socketUnder(t *tls.Conn) *socket {
	if f, ok := t.NetConn().(closeNotifyConn); ok {
		s, _ := f.Conn.(*socket)
		return s
	}
	return nil
}

// Next returns what has arrived, at least one byte, valid until the next call.
func (c *Conn) Next() ([]byte, error) {
	for c.err == nil {
		if !c.more {
			c.release()
			c.socket.await()
		}
		if n := c.readArrived(); n > 0 {
			return c.chunk[:n], nil
		}
	}
	c.release()
	return nil, c.err
}

// readArrived reads what has arrived into the chunk, and returns how many bytes. That may
// be 0, if TLS needs more for a whole record.
func (c *Conn) readArrived() (n int) {
	if c.chunk == nil {
		c.chunk = c.socket.chunks.get()
	}
	c.socket.noWait = true
	defer func() { c.socket.noWait = false }()
	for {
		m, err := c.Conn.Read(c.chunk[n:])
		n += m
		if err != nil {
			c.more = false
			if !errors.Is(err, errNothingYet) {
				c.err = err
			}
			return n
		}
		if n == MaxPiece {
			c.more = true
			return n
		}
		if c.socket.empty() {
			// TLS has returned all that it holds, which is one record at most.
			c.more = false
			return n
		}
	}
}

// Poll reports whether nothing has arrived and the connection has not ended, as far as
// is known without a wait.
func (c *Conn) Poll() bool {
	c.socket.poll()
	n := c.readArrived()
	c.release()
	return n == 0 && c.err == nil
}

func (c *Conn) release() {
	if c.chunk != nil {
		c.socket.chunks.put(c.chunk)
		c.chunk = nil
	}
}

// Leave gives the memory of the last piece to its receiver, which may still read it.
func (c *Conn) Leave() { c.chunk = nil }

// Send writes p.
func (c *Conn) Send(p []byte) error { return c.socket.writeTogether(c.Conn, p) }

// NewConn returns a Conn on conn, which Connect has returned. The caller may have read
// from conn before.
func (e *Endpoint) NewConn(conn net.Conn) *Conn { return newConn(conn, &e.connector.chunks) }

// PutBelow makes conn, which Connect has returned, read from and write to what wrap makes of
// its socket. It returns the connection to use in place of conn, and what wrap has made.
//
// If wrap returns nil, or if Connect has not made conn, PutBelow returns conn and nil.
func PutBelow[S interface {
	net.Conn
	comparable
}](conn net.Conn, wrap func(socket net.Conn) S) (moved net.Conn, below S) {
	var none S
	if below = wrap(Unwrap(conn)); below == none {
		return conn, none
	}
	t, ok := conn.(*tls.Conn)
	if !ok {
		return below, below
	}
	s := socketUnder(t)
	if s == nil {
		return conn, none
	}
	// From now on Read may return bytes of more than one record.
	s.Conn, s.file, s.records.on = below, false, false
	return conn, below
}
