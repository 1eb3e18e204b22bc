// SPDX-License-Identifier: Apache-2.0

package grpcmode

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/grpcwire"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Owner is the endpoint that a Dialer dials through.
type Owner interface {
	// NewConnection connects to the endpoint. It returns the protocol that ALPN chose.
	NewConnection(ctx context.Context) (net.Conn, string, *tunnel.Error)
	// Reach waits until the endpoint was reached, for which the owner calls Greet.
	Reach(ctx context.Context) *tunnel.Error
	// Gone ends when the endpoint is not the server's any more.
	Gone() context.Context
	// Departed is the error of what Gone has ended.
	Departed() *tunnel.Error
	// Patient reports whether a dial that began at began has waited long enough for a
	// missing answer to mean something.
	Patient(began time.Time) bool
	// ConnectionEnded is called when a connection that Dial has returned is over.
	ConnectionEnded()
}

// Shared is what the Dialers of a process share.
type Shared struct {
	Metrics     *Metrics
	Quota       *quota.Quota
	Background  *sync.WaitGroup // counts what goes on behind a Close
	Files       func() int      // returns the version of the TLS files
	AffordsFile func() bool     // reports whether there is a file for one more link
	FirstStream uint32          // number of a link's first stream; set by tests

	linkFiles atomic.Int64 // links, each of which has a file
	segments  segments     // for what arrives
}

// LinkFiles returns how many files the links have.
func (s *Shared) LinkFiles() int64 { return s.linkFiles.Load() }

// Dialer dials through one endpoint in gRPC mode.
type Dialer struct {
	*serverconn.Endpoint
	owner  Owner
	shared *Shared

	mu    sync.Mutex // guards links, and link.streams of each
	links links
}

// New returns a Dialer for the endpoint to, whose dialer is owner.
func New(to *serverconn.Endpoint, owner Owner, shared *Shared) *Dialer {
	return &Dialer{Endpoint: to, owner: owner, shared: shared}
}

// Dial connects to dst. hold is not called: nothing of a dial that has returned has a
// file of its own.
func (e *Dialer) Dial(ctx context.Context, dst netip.AddrPort, _ tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	conn, err := e.dial(ctx, dst)
	return conn, err, serverconn.Fits
}

// Standing returns a channel that is closed when the link for new streams takes no
// more. It returns nil if there is no such link.
func (e *Dialer) Standing() <-chan struct{} {
	if l := e.usable(); l != nil {
		return l.over.Done()
	}
	return nil
}

// Keeps reports whether there is a link for new streams, or was one a moment ago.
func (e *Dialer) Keeps() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.links.inUse) > 0
}

// Status is how many links a Dialer has, and what they are for.
type Status struct {
	InUse   int // for new streams
	Idle    int // of these, that carry nothing
	Making  int // that are being made
	Waiting int // dials that wait for room
}

// Status returns how the links stand.
func (e *Dialer) Status() Status {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := Status{InUse: len(e.links.inUse), Making: e.links.making, Waiting: len(e.links.waiting)}
	for _, l := range e.links.inUse {
		if l.streams == 0 {
			s.Idle++
		}
	}
	return s
}

// Wire returns the connection for new streams, or nil if there is none.
func (e *Dialer) Wire() *grpcwire.Conn {
	if l := e.usable(); l != nil {
		return l.conn
	}
	return nil
}

// Probe returns an error if the server on conn is none for dials. It ends conn.
func (e *Dialer) Probe(ctx context.Context, conn net.Conn, files int) *tunnel.Error {
	link, err := e.newLink(ctx, conn, files)
	if err == nil {
		link.end()
	}
	return err
}

// Failed is called when the endpoint could not be reached. Links tell by themselves.
func (*Dialer) Failed() {}

// Close ends nothing: links end with their streams, and with the owner's Gone.
func (*Dialer) Close() {}
