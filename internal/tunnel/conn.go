// SPDX-License-Identifier: Apache-2.0

package tunnel

import (
	"context"
	"io"
	"net/netip"
)

const (
	// SendUnit is how many bytes of a Send leave together, at most. A Send of a multiple
	// of it wastes no packet.
	//
	// It is the size of a DATA packet of upstream's gRPC protocol. Agents queue packets,
	// not bytes, and serve all connections from one loop, so small packets let others in.
	// A packet with what stands around its bytes has to fit into 32 KiB. For one byte
	// more grpc-go, in server and agent, takes a buffer of 1 MiB, and needs half as much
	// CPU again (the tiers of its package mem).
	SendUnit = 32<<10 - 32
	// MaxReceive is how many bytes a Receive returns at most, or a few more. A relay
	// plans its memory by it.
	MaxReceive = 128 << 10
)

// Conn is one connection to a target in the shoot.
//
// One goroutine may call Receive while another calls Send. Any goroutine may call Close
// at any time.
type Conn interface {
	// Receive returns the next bytes of the target, at least one. They are valid until
	// the next call. io.EOF means that the target closed, and that everything it sent
	// was returned. Any other error means that the rest is lost. It wraps ErrBroken,
	// ErrReset, ErrProtocol or ErrUnreceived, or is ErrClosed after Close.
	Receive() ([]byte, error)
	// Send passes all of p on, or returns an error. It does not keep p. After an error
	// of Send, Receive fails as well and returns the cause.
	Send(p []byte) error
	// Close closes both directions and returns at once. The exchange with the
	// proxy-server goes on in the background. Bytes that the target has not read yet may
	// be lost: the protocol has no close that waits for them.
	Close() error
	// Server returns the configured name of the proxy-server in between.
	Server() string
}

// Traits says what the way to a target carries besides bytes. The zero value is
// konnectivity, which carries nothing else.
type Traits struct {
	// Backpressure means that a caller may leave bytes unreceived for as long as it
	// likes. That stops this Conn's target, and no other Conn.
	Backpressure bool
	// HalfClose means that CloseWrite ends our direction only.
	HalfClose bool
	// Resets means that a reset is told from an end: the target's reset is an error of
	// Receive, Send and CloseWrite that wraps ErrReset, and Abort resets the target.
	//
	// A target may also reset after its end. So a Receive after io.EOF waits. It returns
	// such a reset, or io.EOF again when CloseWrite has ended our direction too.
	Resets bool
}

// Carrier is a Conn whose way carries more than bytes.
type Carrier interface {
	Conn
	// Traits returns what it carries. It is the same during the life of a Conn.
	Traits() Traits
	// CloseWrite tells the target that nothing more will be sent, after all that Send
	// has accepted. It waits like a Send. Without Traits.HalfClose it does nothing.
	CloseWrite() error
	// Abort is Close, but with Traits.Resets the target gets a reset.
	Abort() error
}

// TraitsOf returns the traits of a Conn.
func TraitsOf(c Conn) Traits {
	if is, ok := c.(Carrier); ok {
		return is.Traits()
	}
	return Traits{}
}

// Abort ends a Conn, or a type that wraps one, with a reset for the target if it carries
// resets. It calls Abort of a Carrier, and Close of any other.
func Abort(conn io.Closer) error {
	if is, ok := conn.(interface{ Abort() error }); ok {
		return is.Abort()
	}
	return conn.Close()
}

// Target is what a dial asks an agent for. A netip.AddrPort is one, and a HostPort.
type Target interface {
	// String returns host:port, with brackets around an IPv6 address.
	String() string
}

// HostPort is a Target whose host may be a name. The agent resolves the name. A server may
// choose the agent by it, and then compares it letter by letter.
type HostPort string

// String returns the Target as it was given.
func (h HostPort) String() string { return string(h) }

// Holder is a Conn that knows what waits in it.
type Holder interface {
	// Held returns how many bytes of the target wait to be received, and whether the Conn
	// has ended.
	Held() (bytes int, over bool)
}

// HeldBy returns how many bytes wait to be received from a Conn, or from a type that wraps
// one. It returns 0 if that is not known.
func HeldBy(conn any) int {
	if is, ok := conn.(Holder); ok {
		bytes, _ := is.Held()
		return bytes
	}
	return 0
}

// Breakable is a Conn that knows, before its caller has received everything, that it has
// ended.
type Breakable interface {
	// Broken reports whether the target has reset the connection, or the way to it broke.
	// Nothing more will come, and Receive returns the cause behind what waits to be received.
	Broken() bool
}

// IsBroken reports whether a Conn, or a type that wraps one, is a Breakable that is broken.
func IsBroken(conn any) bool {
	is, ok := conn.(Breakable)
	return ok && is.Broken()
}

// Dialer makes Conns.
type Dialer interface {
	// DialContext connects to dst. Its error is always an *Error. hold may be nil.
	DialContext(ctx context.Context, dst netip.AddrPort, hold Hold) (Conn, error)
}

// Hold is called by a dial that returns while a part of it goes on. That part calls end
// when it is done. For example, a CONNECT that was given up waits some seconds for its
// answer. It has a file open, and the agent still dials.
type Hold func() (end func())
