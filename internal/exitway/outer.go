// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

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

// Read implements net.Conn.
func (o *outerConn) Read(p []byte) (int, error) {
	if len(o.rest) == 0 {
		var err error
		if o.rest, err = o.conn.Receive(); err != nil {
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
