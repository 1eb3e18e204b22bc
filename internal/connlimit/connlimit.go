// SPDX-License-Identifier: Apache-2.0

// Package connlimit limits the connections of an HTTP server.
//
// A server that the pod network can reach shares descriptors and memory with everything
// else in its process. net/http accepts any number of connections. Bound gives it a
// listener that keeps a limited number:
//
//	server := &http.Server{Handler: mux, ReadHeaderTimeout: 2 * time.Second, …}
//	err := server.Serve(connlimit.Bound(server, listener, 64))
//
// A new connection is always accepted, because the client with a request is most likely
// the newest one. If that is one connection too many, an older one is closed. It is the
// one that has waited longest for its client's next request. If no connection waits for
// a client, it is the one that has been busy longest.
//
// It never refuses, delays or answers anything, and it does not read requests. The
// server's own timeouts limit how long a request may take.
package connlimit

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// requestGrace is how long a new or idle connection has for its next request before it
// counts as idle. Otherwise a request that is on its way could lose against one that is
// being answered.
const requestGrace = time.Second

// Bound returns a listener for server.Serve or server.ServeTLS. It keeps at most most
// connections of listener open, but at least one. It sets server.ConnState.
func Bound(server *http.Server, listener net.Listener, most int) net.Listener {
	l := &limitedListener{Listener: listener, maxOpen: max(1, most), open: map[*conn]struct{}{}}
	server.ConnState = l.connState
	return l
}

// limitedListener is a listener with its open connections.
type limitedListener struct {
	net.Listener
	maxOpen int

	mu   sync.Mutex
	open map[*conn]struct{}
}

// conn is a connection of a limitedListener.
type conn struct {
	net.Conn
	listener *limitedListener

	// Guarded by listener.mu:
	busy  bool      // a request has begun and is not answered completely
	since time.Time // when busy was last set
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, listener: l, since: time.Now()}
	if evicted := l.add(c); evicted != nil {
		_ = evicted.Close() // the server's goroutine notices
	}
	return c, nil
}

// add adds c, and returns the connection to close for it, or nil.
func (l *limitedListener) add(c *conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var evicted *conn
	if len(l.open) >= l.maxOpen {
		evicted = l.toClose(c.since)
		delete(l.open, evicted)
	}
	l.open[c] = struct{}{}
	return evicted
}

// toClose returns the connection to close at now. The caller holds mu, and at least one
// connection is open.
func (l *limitedListener) toClose(now time.Time) *conn {
	var idle, oldest *conn
	for c := range l.open {
		if oldest == nil || c.since.Before(oldest.since) {
			oldest = c
		}
		if !c.busy && now.Sub(c.since) >= requestGrace && (idle == nil || c.since.Before(idle.since)) {
			idle = c
		}
	}
	if idle != nil {
		return idle
	}
	return oldest
}

// connState implements the server's ConnState.
func (l *limitedListener) connState(of net.Conn, state http.ConnState) {
	if t, ok := of.(*tls.Conn); ok {
		of = t.NetConn()
	}
	c, ok := of.(*conn)
	if !ok || state != http.StateActive && state != http.StateIdle {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c.busy, c.since = state == http.StateActive, time.Now()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
