// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/inbox"
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
	// GoneError returns the error of work that the end of Gone has ended.
	GoneError() *tunnel.Error
	// WaitedLongEnough reports whether a dial that began at began has waited so long
	// that a missing answer counts against the endpoint.
	WaitedLongEnough(began time.Time) bool
	// ConnectionEnded is called when a connection that Dial has returned has ended.
	ConnectionEnded()
}

// Shared is what the Dialers of a process share.
type Shared struct {
	Metrics     *Metrics
	Quota       *quota.Quota
	Background  *sync.WaitGroup // counts work that goes on after a Close
	Files       func() int      // returns the version of the TLS files
	AffordsFile func() bool     // reports whether there is a file for one more link
	FirstStream uint32          // number of the first stream of a link; set by tests

	linkFiles atomic.Int64 // the number of links, each of which has a file
	segments  inbox.Pool   // memory for bytes that arrive
}

// LinkFiles returns how many files the links have open.
func (s *Shared) LinkFiles() int64 { return s.linkFiles.Load() }

// Dialer dials through one endpoint in gRPC mode.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *Shared

	mu    sync.Mutex // guards links, and link.streams of each
	links links
}

// New returns a Dialer for the endpoint to, which owner judges.
func New(to *serverconn.Endpoint, owner Owner, shared *Shared) *Dialer {
	return &Dialer{Endpoint: to, owner: owner, shared: shared}
}

// Dial dials dst. It does not call hold: no dial that has returned has a file of its
// own.
func (d *Dialer) Dial(ctx context.Context, dst tunnel.Target, _ tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	conn, err := d.dial(ctx, dst)
	return conn, err, serverconn.Fits
}

// Standing returns a channel that is closed when the link for new streams takes no
// more. It returns nil if there is no such link.
func (d *Dialer) Standing() <-chan struct{} {
	if l := d.usable(); l != nil {
		return l.over.Done()
	}
	return nil
}

// Keeps reports whether there is a link for new streams, or was one a moment ago.
func (d *Dialer) Keeps() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.links.inUse) > 0
}

// Status says how many links a Dialer has, and what for.
type Status struct {
	InUse   int // for new streams
	Idle    int // of these, without streams
	Making  int // being made
	Waiting int // dials that wait for room
}

// Status returns the present Status.
func (d *Dialer) Status() Status {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := Status{InUse: len(d.links.inUse), Making: d.links.making, Waiting: len(d.links.waiting)}
	for _, l := range d.links.inUse {
		if l.streams == 0 {
			s.Idle++
		}
	}
	return s
}

// Wire returns the connection for new streams, or nil if there is none.
func (d *Dialer) Wire() *grpcwire.Conn {
	if l := d.usable(); l != nil {
		return l.conn
	}
	return nil
}

// Probe returns an error if the server on conn is not one for dials. It ends conn.
func (d *Dialer) Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	link, err := d.newLink(ctx, conn, files)
	if err == nil {
		link.end()
	}
	return err
}

// Failed does nothing: a link shows by itself that it is lost.
func (*Dialer) Failed() {}

// Close ends nothing: links end with their streams, and with the owner's Gone.
func (*Dialer) Close() {}
