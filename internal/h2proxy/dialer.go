// SPDX-License-Identifier: Apache-2.0

package h2proxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Owner is the endpoint that a Dialer dials through.
type Owner interface {
	// Connect connects to the endpoint and does the handshake. It returns the protocol
	// that ALPN chose.
	Connect(ctx context.Context) (net.Conn, string, *tunnel.Error)
	// Check waits for a check of the endpoint, in which the owner calls Greet.
	Check(ctx context.Context) *tunnel.Error
	// Gone ends when the server's name does not resolve to the address any more.
	Gone() context.Context
	// ConnectionEnded is called when a connection that Dial has returned has ended.
	ConnectionEnded()
}

// Shared is what the Dialers of a process share.
type Shared struct {
	Quota       *quota.Quota
	Background  *sync.WaitGroup // counts work that goes on after a Close
	Files       func() int      // returns the version of the TLS files
	AffordsFile func() bool     // reports whether there is a file for one more link

	linkFiles atomic.Int64 // the number of links, each of which has a file
}

// LinkFiles returns how many files the links have open.
func (s *Shared) LinkFiles() int64 { return s.linkFiles.Load() }

// Dialer dials through one endpoint.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *Shared

	mu    sync.Mutex // guards the fields below, and link.streams of each
	links []*link    // for new streams, oldest first
	more  *attempt   // to make a further link; nil if there is none under way
}

// attempt is the making of a further link.
type attempt struct {
	done chan struct{}
	err  *tunnel.Error // may be read when done is closed
}

// New returns a Dialer for the endpoint to, which owner judges.
func New(to *serverconn.Endpoint, owner Owner, shared *Shared) *Dialer {
	return &Dialer{Endpoint: to, owner: owner, shared: shared}
}

const (
	// mostRefused is how often a proxy may refuse the stream of a dial.
	mostRefused = 4
	// againPause is the pause before a dial is made again for the second time. It doubles
	// each time, up to lastAgainPause.
	againPause     = 20 * time.Millisecond
	lastAgainPause = time.Second
)

// Dial dials dst. It does not call hold: a dial that was given up ends at once, and the
// proxy's dial with it. A dial that the proxy has not processed is made again.
func (d *Dialer) Dial(ctx context.Context, dst tunnel.Target, _ tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	refusals := 0
	for wait := time.Duration(0); ; wait = min(max(2*wait, againPause), lastAgainPause) {
		pause.For(ctx, wait)
		l, failed := d.reserve(ctx)
		if failed != nil {
			return nil, failed, serverconn.Fits
		}
		s, err := l.conn.Dial(ctx, dst.String())
		if err == nil {
			return &conn{Stream: s, dialer: d, link: l}, nil, serverconn.Fits
		}
		again := errors.Is(err, h2connect.ErrFull)
		switch {
		case h2connect.StreamRefused(err): // which says nothing against the link
			refusals++
			again = refusals < mostRefused
		case errors.Is(err, h2connect.ErrUnprocessed), errors.Is(err, h2connect.ErrClosed), errors.Is(err, h2connect.ErrUsedUp):
			again = true
			d.retire(l)
		}
		d.release(l)
		if ctx.Err() != nil || !again {
			return nil, d.failed(ctx, err), serverconn.Fits
		}
	}
}

// Greet makes a link of conn and puts it into use, if the server is a proxy. If there is a
// usable link already, it ends the new one, which has shown that the proxy answers.
func (d *Dialer) Greet(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	l, err := d.newLink(ctx, conn, files)
	switch {
	case err != nil:
		return err
	case d.Standing() != nil:
		d.retire(l)
	default:
		d.admit(l)
	}
	return nil
}

// Probe returns an error if the server on conn is not one for dials. It ends conn.
func (d *Dialer) Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	l, err := d.newLink(ctx, conn, files)
	if err == nil {
		d.retire(l)
	}
	return err
}

// Standing returns a channel that is closed when the link for new streams takes no more.
// It returns nil if there is no such link.
func (d *Dialer) Standing() <-chan struct{} {
	files := d.shared.Files()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range d.links {
		if l.usable(files) {
			return l.over.Done()
		}
	}
	return nil
}

// Keeps reports whether there is a link for new streams, or was one a moment ago.
func (d *Dialer) Keeps() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.links) > 0
}

// Failed does nothing: a link shows by itself that it is lost.
func (*Dialer) Failed() {}

// Close ends nothing: links end with their streams, and with the owner's Gone.
func (*Dialer) Close() {}

// conn is a connection that Dial has returned.
type conn struct {
	*h2connect.Stream
	dialer *Dialer
	link   *link
	once   sync.Once // for end
}

// Server implements tunnel.Conn.
func (c *conn) Server() string { return c.dialer.Server.Name }

// Close implements tunnel.Conn.
func (c *conn) Close() error { return c.end(c.Stream.Close) }

// Abort implements tunnel.Carrier.
func (c *conn) Abort() error { return c.end(c.Stream.Abort) }

func (c *conn) end(by func() error) error {
	err := by()
	c.once.Do(func() {
		c.dialer.release(c.link)
		c.dialer.owner.ConnectionEnded()
	})
	return err
}
