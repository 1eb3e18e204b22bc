// SPDX-License-Identifier: Apache-2.0

// Package connlimit bounds the connections of an HTTP server.
//
// An HTTP server that the pod network can reach shares descriptors and memory with
// whatever else its process does, and net/http takes as many connections as come.
// Bound gives it a listener that keeps at most so many:
//
//	server := &http.Server{Handler: mux, ReadHeaderTimeout: 2 * time.Second, …}
//	err := server.Serve(connlimit.Bound(server, listener, 64))
//
// A new connection is always taken: the caller with something to ask is most likely
// the newest one. Where that is one too many, the connection that has waited longest
// for its client to ask something is closed. Where no client is waited for, the
// connection that has been busy longest is.
//
// It never refuses, delays or answers anything, and it knows no request. How long a
// request may take is for the server's own timeouts.
package connlimit

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// settling is how long a new or idle connection has to ask something before it
// counts as idle: a request that is on its way must not lose against one that is
// being answered.
const settling = time.Second

// Bound returns a listener for server.Serve or server.ServeTLS that keeps at most
// most connections of listener's, at least one. It sets server.ConnState.
func Bound(server *http.Server, listener net.Listener, most int) net.Listener {
	l := &limited{Listener: listener, most: max(1, most), open: map[*conn]struct{}{}}
	server.ConnState = l.changed
	return l
}

// limited is a listener with the connections that it has accepted.
type limited struct {
	net.Listener
	most int

	mu   sync.Mutex
	open map[*conn]struct{}
}

// conn is one of them.
type conn struct {
	net.Conn
	listener *limited

	// Under listener.mu:
	busy  bool      // a request has begun and is not answered in full
	since time.Time // when busy was last set
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, listener: l, since: time.Now()}
	if victim := l.enter(c); victim != nil {
		_ = victim.Close() // the server's goroutine finds out
	}
	return c, nil
}

// enter counts c, and returns the connection that has to go for it, if one has.
func (l *limited) enter(c *conn) *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var victim *conn
	if len(l.open) >= l.most {
		victim = l.victim(c.since)
		delete(l.open, victim)
	}
	l.open[c] = struct{}{}
	return victim
}

// victim returns the connection to close at now. The caller holds mu, and one is
// open.
func (l *limited) victim(now time.Time) *conn {
	var idle, oldest *conn
	for c := range l.open {
		if oldest == nil || c.since.Before(oldest.since) {
			oldest = c
		}
		if !c.busy && now.Sub(c.since) >= settling && (idle == nil || c.since.Before(idle.since)) {
			idle = c
		}
	}
	if idle != nil {
		return idle
	}
	return oldest
}

// changed is the server's ConnState.
func (l *limited) changed(of net.Conn, state http.ConnState) {
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
