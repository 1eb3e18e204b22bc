// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Outer makes the connections to exits, and dials the plain way. *dialer.Dialer
// implements it.
type Outer interface {
	tunnel.Dialer
	// DialTarget dials a target that may be a name, which the agent resolves. Its error is
	// always a *tunnel.Error.
	DialTarget(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, error)
	// OwnsAddress reports whether a belongs to a proxy-server.
	OwnsAddress(a netip.AddrPort) bool
}

// outerConn makes a net.Conn of a tunnel.Conn, for crypto/tls. One goroutine may read
// while another writes.
type outerConn struct {
	conn tunnel.Conn
	rest []byte // received, not read yet

	mu       sync.Mutex
	deadline *time.Timer // closes conn
}

// errOuterEnded is the error of a connection to an exit that has ended cleanly below TLS.
// The proxy-server ends it in this way when its agent has died. It must not be taken for
// the end of what a target sends.
var errOuterEnded = errors.New("the proxy-server has ended the connection to the exit: has the agent or the exit died?")

// Read implements net.Conn.
func (o *outerConn) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		var err error
		if o.rest, err = o.conn.Receive(); err != nil {
			if errors.Is(err, io.EOF) {
				err = errOuterEnded
			}
			return 0, err
		}
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

// Write implements net.Conn.
func (o *outerConn) Write(p []byte) (int, error) {
	if err := o.conn.Send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements net.Conn.
func (o *outerConn) Close() error {
	_ = o.SetDeadline(time.Time{})
	return o.conn.Close()
}

// SetDeadline implements net.Conn. A deadline that has passed closes the connection,
// because a tunnel.Conn has no way to end only one call.
func (o *outerConn) SetDeadline(at time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.deadline != nil {
		o.deadline.Stop()
		o.deadline = nil
	}
	if !at.IsZero() {
		o.deadline = time.AfterFunc(time.Until(at), func() { _ = o.conn.Close() })
	}
	return nil
}

// SetReadDeadline implements net.Conn as SetDeadline does.
func (o *outerConn) SetReadDeadline(at time.Time) error { return o.SetDeadline(at) }

// SetWriteDeadline implements net.Conn as SetDeadline does. crypto/tls sets one for its
// close_notify, and Close follows.
func (o *outerConn) SetWriteDeadline(at time.Time) error { return o.SetDeadline(at) }

// below is the connection below an exit's TLS. It gathers what is written after the
// handshake, so that many records leave together.
type below struct{ net.Conn }

func newBelow(conn tunnel.Conn) *below { return &below{Conn: &outerConn{conn: conn}} }

// gather begins the gathering. Nothing may be written at the same time.
func (b *below) gather() *http2wire.Socket {
	socket := http2wire.GatherOn(b.Conn)
	b.Conn = socket
	return socket
}

// LocalAddr implements net.Conn. There is no such address.
func (*outerConn) LocalAddr() net.Addr { return noAddr{} }

// RemoteAddr implements net.Conn. There is no such address.
func (*outerConn) RemoteAddr() net.Addr { return noAddr{} }

// noAddr is the address of a connection whose ends are in other networks.
type noAddr struct{}

// Network implements net.Addr.
func (noAddr) Network() string { return "tunnel" }

// String implements net.Addr.
func (noAddr) String() string { return "exit" }
