// SPDX-License-Identifier: Apache-2.0

package grpcwire

import (
	"context"
	"net"

	"golang.org/x/net/http2/hpack"

	"github.com/shoot-proxy/proxy-client/internal/http2wire"
)

// Config configures a Conn. All fields are required except MaxFirst, FirstStreamID,
// Draining and LimitRaised.
type Config struct {
	Scheme    string // https, or http without TLS
	Authority string // the server's host, sent as :authority
	Path      string // the method: /package.Service/Method
	UserAgent string

	StreamWindow     int    // maximum bytes that the server may send on a stream before Stream.Taken returns them
	ConnectionWindow int    // maximum bytes in flight on all streams
	MaxMessage       int    // maximum bytes of a message
	MaxFirst         int    // maximum bytes of the first message of a stream; 0 means MaxMessage
	MaxHeaders       uint32 // maximum bytes of an answer's headers, counted as in RFC 9113, section 6.5.2

	// FirstStreamID is the odd number of the first stream. 0 means 1. Only tests set
	// another.
	FirstStreamID uint32

	// Draining is called once, when the connection takes no more streams or soon will
	// not. Run or Open calls it. It must not wait.
	Draining func()
	// LimitRaised is called from Run when the server raises its limit of concurrent
	// streams. It must not wait.
	LimitRaised func()
}

// Handler receives the events of one stream. Run calls its methods, one at a time. They
// must not wait. They may call Conn.Close, but must not then wait for Run.
type Handler interface {
	// Message is called with each message of the server. p is valid until Message
	// returns. The message uses Cost(len(p)) bytes of the stream's window, until
	// Stream.Taken returns them.
	Message(p []byte)
	// Arrived is called after one or more calls of Message, when no more can be read
	// without waiting.
	Arrived()
	// End is called when the server or the connection has ended the stream. It is not
	// called after Cancel. err is io.EOF if the server's status is OK, else a gRPC
	// status.
	End(err error)
}

// BufferCounter is a Handler that counts the bytes that the connection buffers for its
// stream.
type BufferCounter interface {
	// AddBuffered reports that the buffer for an incomplete message grew by that many
	// bytes, or shrank if by is negative. Run calls it. It must not wait.
	AddBuffered(by int)
}

// Conn is one HTTP/2 connection. All its methods may be called concurrently.
type Conn struct {
	wire   *http2wire.Conn
	cfg    Config
	fields []hpack.HeaderField // of a request for cfg.Path

	spareBuffer []byte // for the pieces of a message; used only by Run
}

// Socket is the connection below TLS.
type Socket = http2wire.Socket

// NewSocket returns a Socket on conn, or nil if conn is not a connection of the kernel.
func NewSocket(conn net.Conn) *Socket { return http2wire.NewSocket(conn) }

// New returns a client that speaks HTTP/2 on conn. On conn only the TLS handshake may
// have taken place. socket is the connection below TLS, or conn itself without TLS. It
// may be nil.
func New(conn net.Conn, socket *Socket, cfg Config) *Conn {
	return &Conn{
		cfg: cfg, fields: cfg.request(cfg.Path),
		wire: http2wire.New(conn, socket, http2wire.Config{
			StreamWindow: cfg.StreamWindow, ConnectionWindow: cfg.ConnectionWindow, MaxHeaders: cfg.MaxHeaders,
			FirstStreamID: cfg.FirstStreamID, Draining: cfg.Draining, LimitRaised: cfg.LimitRaised,
		}),
	}
}

// request returns the headers of a request for path.
func (cfg *Config) request(path string) []hpack.HeaderField {
	return []hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: cfg.Scheme},
		{Name: ":path", Value: path},
		{Name: ":authority", Value: cfg.Authority},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: cfg.UserAgent},
		{Name: "te", Value: "trailers"},
	}
}

// Run reads until the connection ends. It returns when all goroutines and streams of
// the connection have ended. It must be called once.
func (c *Conn) Run() { c.wire.Run() }

// Ready waits for the server's settings. If ctx ends first, Ready closes the
// connection.
func (c *Conn) Ready(ctx context.Context) error { return withStatus(c.wire.Ready(ctx)) }

// Err returns why the connection has ended, or nil.
func (c *Conn) Err() error { return withStatus(c.wire.Err()) }

// Streams returns how many streams are open.
func (c *Conn) Streams() int { return c.wire.Streams() }

// Limit returns how many concurrent streams the server allows.
func (c *Conn) Limit() int { return c.wire.Limit() }

// Close ends the connection and all its streams. It does not wait for Run, which
// returns soon after.
func (c *Conn) Close() error { return c.wire.Close() }

// Open opens a stream. The server learns of it with the first Send.
func (c *Conn) Open(h Handler) (*Stream, error) { return c.open(c.fields, h, false) }

// open opens a stream with the headers fields. If noMessages is set, they end our side
// of the stream.
func (c *Conn) open(fields []hpack.HeaderField, h Handler, noMessages bool) (*Stream, error) {
	s := &Stream{conn: c, handler: h, awaited: true}
	s.bufferCounter, _ = h.(BufferCounter)
	if err := c.wire.Open(&s.wire, (*events)(s), fields, noMessages); err != nil {
		return nil, withStatus(err)
	}
	return s, nil
}
