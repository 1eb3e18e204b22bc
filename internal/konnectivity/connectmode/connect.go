// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// maxHead bounds the headers of an answer to CONNECT, and the text behind them if
	// the answer is an error.
	maxHead = 16 << 10
	// abandonTimeout is how long an abandoned CONNECT is kept open for its answer. The
	// agent gives the target 5 s. A server that cannot write its 200 leaks the target's
	// connection.
	abandonTimeout = 6 * time.Second
	// connectBuffer is SO_RCVBUF of a CONNECT connection, in bytes. The relay's bounds
	// do not count what the kernel holds. When a server has filled the buffer, it goes
	// on only when a third of its own send buffer is free. That buffer grows with what
	// we let the server send, and all others wait meanwhile.
	connectBuffer = 128 << 10
)

// pastDeadline ends a read or write that is under way.
var pastDeadline = time.Unix(1, 0)

// dialOn dials dst with HTTP CONNECT on conn.
func (d *Dialer) dialOn(ctx context.Context, conn net.Conn, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	c := newConnection(d, d.NewConn(conn))
	serverconn.SetReadBuffer(conn, connectBuffer)
	if err := c.dial(ctx, dst, hold); err != nil {
		return nil, err
	}
	return c, nil
}

// dialOnSpare is dialOn on a spare connection. dead reports that the connection was
// dead. Then no byte reached the target, although the agent may have dialled it. So the
// dial may be made on another connection at once.
//
// If there are other endpoints, the server's kernel has AddressTimeout to acknowledge
// the request, which is also its time to accept a connection. TCP_USER_TIMEOUT can be
// that limit: nothing but the request is sent, for which any receive window has room.
func (d *Dialer) dialOnSpare(ctx context.Context, ready *spare, dst tunnel.Target, hold tunnel.Hold) (conn tunnel.Conn, err *tunnel.Error, dead bool) {
	c := newConnection(d, ready.arriving)
	serverconn.SetReadBuffer(c.conn, connectBuffer)
	several := d.owner.Several()
	if several {
		serverconn.LimitSilence(c.conn, serverconn.AddressTimeout)
	}
	if err := c.dial(ctx, dst, hold); err != nil {
		return nil, err, c.noAnswer && ctx.Err() == nil
	}
	if several {
		serverconn.LimitSilence(c.conn, 0)
	}
	return c, nil, false
}

// dial sends CONNECT and reads the answer. If ctx ends first, the dial is abandoned.
func (c *connection) dial(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) *tunnel.Error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetDeadline(pastDeadline)
		close(fired)
	})
	// If the request cannot be written, the answer says why.
	_, _ = io.WriteString(c.conn, connectRequest(dst))
	err := c.answer()
	late := !stop()
	if late {
		<-fired // from here on the deadline does not change
	}
	if late && (err == nil || errors.Is(err.Err, konnectivity.ErrGaveUp)) {
		end := func() {}
		if hold != nil {
			end = hold()
		}
		c.dialer.shared.Background.Go(func() {
			defer end()
			c.abandon()
		})
		return konnectivity.NoAnswer(ctx, c.dialer.Server.Name)
	}
	if err != nil {
		_ = c.conn.Close()
	}
	return err
}

func connectRequest(dst tunnel.Target) string {
	to := dst.String()
	return "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\nUser-Agent: shoot-proxy\r\n\r\n"
}

// answer reads until it knows what the server's answer is. It keeps bytes of the target
// that come with it for Receive.
func (c *connection) answer() *tunnel.Error {
	head := make([]byte, 0, 1024)
	for {
		if len(head) == cap(head) {
			grown := make([]byte, len(head), 2*cap(head))
			copy(grown, head)
			head = grown
		}
		n, err := c.conn.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		v, status, rest := parseHead(head, err != nil && !isTimeout(err)) // our own timeout is not the server's end
		c.answered = time.Now()
		c.noAnswer = len(head) == 0
		switch {
		case v == headEstablished:
			c.pending = rest
			return nil
		case v == headAhead:
			// The target spoke before the server, because two goroutines of the server
			// write to one connection. The dial has succeeded.
			c.ahead = &aheadFilter{}
			c.pending = c.ahead.pass(head)
			c.ended = err
			return nil
		case v == headRefused && err != nil:
			return c.refused(status, rest)
		case v == headGarbage, len(head) > maxHead:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: its answer to CONNECT begins %.60q", tunnel.ErrProtocol, head)}
		case v == headHTTP2:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: %w", tunnel.ErrProtocol, ErrSettings), Fault: tunnel.FaultServer}
		case errors.Is(err, io.EOF):
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: %w to CONNECT; is it an http-connect server (%s)?", tunnel.ErrProtocol, ErrNoAnswer, c.dialer.Names().Mode), Fault: tunnel.FaultServer}
		case err != nil:
			return c.lost(err)
		}
	}
}

// greeting is a request that asks for nothing. In http-connect mode net/http answers it
// by itself (serverHandler.ServeHTTP), before the proxy-server's own code.
const greeting = "OPTIONS * HTTP/1.1\r\nHost: proxy-server\r\nUser-Agent: shoot-proxy\r\nConnection: close\r\n\r\n"

var (
	// ErrSettings is wrapped by the error of a server that should speak HTTP/1.1 and
	// speaks HTTP/2.
	ErrSettings = errors.New("it speaks HTTP/2")
	// ErrNoAnswer is wrapped by the error of a server that has ended the connection
	// without an answer. A server with grpc-go does so if ALPN has not chosen HTTP/2
	// (ServerHandshake in its package credentials).
	ErrNoAnswer = errors.New("it closed the connection without an answer")
)

// greetHTTP returns nil if the server on conn answers. A handshake alone says little.
// With TLS 1.3 a server refuses a client certificate only after it. The kernel accepts
// connections to the Unix socket of a process that hangs.
func (d *Dialer) greetHTTP(ctx context.Context, conn net.Conn) *tunnel.Error {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(pastDeadline) })()
	// If the request cannot be written, the answer says why.
	_, _ = io.WriteString(conn, greeting)
	answer := make([]byte, max(len(statusPrefix), settingsHead))
	n, err := io.ReadFull(conn, answer)
	_, alerted := serverconn.RemoteAlert(err)
	switch {
	case alerted:
		return d.Alerted(err)
	case err == nil && string(answer) == statusPrefix:
		return nil
	case err == nil && isSettings(answer):
		return d.WrongServer(fmt.Errorf("%w, which %s=%s does not fit: use %s", ErrSettings, d.Names().Mode, tunnel.ModeHTTPConnect, d.OtherMode(tunnel.ModeGRPC)))
	case err == nil:
		return d.WrongServer(fmt.Errorf("its answer to an HTTP/1.1 request begins %q: is the port right? %s", answer, serverconn.ServersPort))
	case n == 0 && !isTimeout(err):
		err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return d.Unreachable(ctx, fmt.Errorf("no HTTP/1.1 answer from %s: %w; is it an http-connect server (%s)?", d.Address(), err, d.Names().Mode))
}

// refused returns the error of an answer other than 200. text is its body.
func (c *connection) refused(status int, text []byte) *tunnel.Error {
	e := konnectivity.Classify(c.dialer.Server.Name, string(text))
	if e.Reason != tunnel.ReasonOther {
		return e
	}
	// If the text is not a known one, the status decides.
	e.Err = fmt.Errorf("dial refused: status %d: %.200q", status, bytes.TrimSpace(text))
	switch {
	case status == 500:
		e.Reason, e.Fault = tunnel.ReasonNoAgent, tunnel.FaultServer
	case status == 504:
		e.Reason = tunnel.ReasonTimeout
	case refusesCONNECT(status):
		e.Reason, e.Fault = tunnel.ReasonProtocol, tunnel.FaultRefusal
		e.Err = fmt.Errorf("%w: is it a konnectivity proxy-server in http-connect mode?", e.Err)
	}
	return e
}

// refusesCONNECT reports whether a status comes from a web server that does not accept
// CONNECT. A proxy-server answers with none of these.
func refusesCONNECT(status int) bool {
	switch status {
	case 408, 425, 429: // may be different later
		return false
	case 501, 505:
		return true
	default:
		return status >= 400 && status < 500
	}
}

// lost returns the error of a connection that broke before there was an answer.
func (c *connection) lost(err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return c.dialer.Alerted(err)
	}
	e := &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: %w", tunnel.ErrBroken, err), Fault: tunnel.FaultServer}
	if isTimeout(err) {
		e.Err = konnectivity.ErrGaveUp
	}
	return e
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// abandon gives up a CONNECT that was not answered. It ends our direction and reads
// until the answer has come, so that the server can write it.
func (c *connection) abandon() {
	defer c.conn.Close()
	_ = c.conn.SetDeadline(time.Now().Add(abandonTimeout))
	defer serverconn.EndWriting(c.conn)()
	_, _ = io.Copy(io.Discard, c.conn)
}

// part ends a connection in the background. Nothing is awaited on it any more. It lets
// the server end the connection first.
func (s *Shared) part(conn net.Conn) {
	if s.Life.Err() != nil { // the process is about to end, and does not wait
		_ = conn.Close()
		return
	}
	s.Background.Go(func() {
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(konnectivity.CloseGrace))
		defer serverconn.EndWriting(conn)()
		_, _ = io.Copy(io.Discard, conn)
	})
}
