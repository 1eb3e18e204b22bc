// SPDX-License-Identifier: Apache-2.0

package connectmode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// maxHead bounds the headers of an answer to CONNECT and, where it is an
	// error, the text behind them.
	maxHead = 16 << 10
	// abandonConnect is how long an abandoned CONNECT is kept open for its
	// answer: the agent gives the target 5 s. A server that cannot write its 200
	// leaks the target's connection.
	abandonConnect = 6 * time.Second
	// connectBuffer is SO_RCVBUF of a CONNECT connection, in bytes. What the
	// kernel holds lies outside of the relay's bounds; and a server that has
	// filled it goes on only when a third of its own send buffer, which grows
	// with what we let it send, is free again. All others wait meanwhile.
	connectBuffer = 128 << 10
)

// longAgo is a deadline that ends a read or write that is under way.
var longAgo = time.Unix(1, 0)

// dialConnect asks for dst with HTTP CONNECT on conn.
func (e *Dialer) dialConnect(ctx context.Context, conn net.Conn, dst netip.AddrPort, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error) {
	c := newConnection(e, e.NewConn(conn))
	serverconn.SetReadBuffer(conn, connectBuffer)
	if err := c.dial(ctx, dst, hold); err != nil {
		return nil, err
	}
	return c, nil
}

// dialReady is dialConnect on a ready-made connection. It reports whether that
// turned out to be dead: then nobody has heard of the dial, or at least the agent
// of nothing but a dial, and it may be made on another connection at once.
//
// While the answer is awaited, the server's kernel has to acknowledge as soon as
// that of an address has to take a connection. TCP_USER_TIMEOUT can be that limit:
// nothing but the request is sent, for which any receive window has room.
func (e *Dialer) dialReady(ctx context.Context, ready *spare, dst netip.AddrPort, hold tunnel.Hold) (conn tunnel.Conn, err *tunnel.Error, dead bool) {
	c := newConnection(e, ready.arriving)
	serverconn.SetReadBuffer(c.conn, connectBuffer)
	several := e.owner.Several()
	if several {
		serverconn.LimitSilence(c.conn, serverconn.AddressTimeout)
	}
	if err := c.dial(ctx, dst, hold); err != nil {
		return nil, err, c.unheard && ctx.Err() == nil
	}
	if several {
		serverconn.LimitSilence(c.conn, 0)
	}
	return c, nil, false
}

// dial sends CONNECT and reads the answer, which must come while ctx lasts.
func (c *connection) dial(ctx context.Context, dst netip.AddrPort, hold tunnel.Hold) *tunnel.Error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetDeadline(longAgo)
		close(fired)
	})
	// Where the request cannot be written, the answer says why.
	_, _ = io.WriteString(c.conn, connectRequest(dst))
	err := c.answer()
	late := !stop()
	if late {
		<-fired // the deadline is not moved any more
	}
	if late && (err == nil || errors.Is(err.Err, konnectivity.ErrGaveUp)) {
		end := func() {}
		if hold != nil {
			end = hold()
		}
		c.endpoint.shared.Background.Go(func() {
			defer end()
			c.abandon()
		})
		return konnectivity.NoAnswer(ctx, c.endpoint.Server.Name)
	}
	if err != nil {
		_ = c.conn.Close()
	}
	return err
}

func connectRequest(dst netip.AddrPort) string {
	to := dst.String()
	return "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\nUser-Agent: shoot-proxy\r\n\r\n"
}

// answer reads until it is known what the server says. What the target said in
// the meantime is kept for Receive.
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
		v, status, rest := judgeHead(head, err != nil && !isTimeout(err)) // giving up is not the server's end
		c.answered = time.Now()
		c.unheard = len(head) == 0
		switch {
		case v == headEstablished:
			c.pending = rest
			return nil
		case v == headAhead:
			// The target spoke before the server: two of its goroutines write
			// to one connection. The dial has succeeded.
			c.ahead = &aheadFilter{}
			c.pending = c.ahead.pass(head)
			c.ended = err
			return nil
		case v == headRefused && err != nil:
			return c.refused(status, rest)
		case v == headGarbage, len(head) > maxHead:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.endpoint.Server.Name, Err: fmt.Errorf("%w: its answer to CONNECT begins %.60q", tunnel.ErrProtocol, head)}
		case v == headHTTP2:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.endpoint.Server.Name, Err: fmt.Errorf("%w: %w", tunnel.ErrProtocol, ErrSettings), Fault: tunnel.FaultServer}
		case errors.Is(err, io.EOF):
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.endpoint.Server.Name, Err: fmt.Errorf("%w: %w to CONNECT; is it an http-connect server (%s)?", tunnel.ErrProtocol, ErrNoAnswer, c.endpoint.Names().Mode), Fault: tunnel.FaultServer}
		case err != nil:
			return c.lost(err)
		}
	}
}

// greeting asks a server in http-connect mode for nothing: net/http answers it
// by itself (serverHandler.ServeHTTP), ahead of the proxy-server's own code.
const greeting = "OPTIONS * HTTP/1.1\r\nHost: proxy-server\r\nUser-Agent: shoot-proxy\r\nConnection: close\r\n\r\n"

var (
	// ErrSettings is wrapped by the error of a server that speaks HTTP/2 where HTTP/1.1
	// was meant.
	ErrSettings = errors.New("it speaks HTTP/2")
	// ErrNoAnswer is wrapped by the error of a server that has ended the connection
	// without a word. grpc-go's does so where ALPN has not chosen HTTP/2
	// (ServerHandshake in its package credentials).
	ErrNoAnswer = errors.New("it closed the connection without an answer")
)

// greetHTTP returns nil where the server on conn answers. A handshake alone says
// little: with TLS 1.3 a client certificate is refused only after it, and a Unix
// socket takes connections for a process that hangs.
func (e *Dialer) greetHTTP(ctx context.Context, conn net.Conn) *tunnel.Error {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(longAgo) })()
	// Where it cannot be written, the answer says why.
	_, _ = io.WriteString(conn, greeting)
	answer := make([]byte, max(len(statusPrefix), settingsHead))
	n, err := io.ReadFull(conn, answer)
	_, alerted := serverconn.RemoteAlert(err)
	switch {
	case alerted:
		return e.Alerted(err)
	case err == nil && string(answer) == statusPrefix:
		return nil
	case err == nil && isSettings(answer):
		return e.WrongServer(fmt.Errorf("%w, which %s=%s does not fit: use %s", ErrSettings, e.Names().Mode, tunnel.ModeHTTPConnect, e.OtherMode(tunnel.ModeGRPC)))
	case err == nil:
		return e.WrongServer(fmt.Errorf("its answer to an HTTP/1.1 request begins %q: is the port right? %s", answer, serverconn.ServersPort))
	case n == 0 && !isTimeout(err):
		err = fmt.Errorf("%w: %w", ErrNoAnswer, err)
	}
	return e.Unreachable(ctx, fmt.Errorf("no HTTP/1.1 answer from %s: %w; is it an http-connect server (%s)?", e.Address(), err, e.Names().Mode))
}

// refused is the error of an answer other than 200, with the text behind it.
func (c *connection) refused(status int, text []byte) *tunnel.Error {
	e := konnectivity.Classify(c.endpoint.Server.Name, string(text))
	if e.Reason != tunnel.ReasonOther {
		return e
	}
	// Where the text says nothing that we know, the status does.
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

// refusesCONNECT reports whether a status is a web server's, for which a CONNECT is
// a mistake. A proxy-server answers with none of these.
func refusesCONNECT(status int) bool {
	switch status {
	case 408, 425, 429: // it may be another time
		return false
	case 501, 505:
		return true
	default:
		return status >= 400 && status < 500
	}
}

// lost is the error of a connection that broke before there was an answer.
func (c *connection) lost(err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return c.endpoint.Alerted(err)
	}
	e := &tunnel.Error{Reason: tunnel.ReasonServerUnreachable, Server: c.endpoint.Server.Name, Err: fmt.Errorf("%w: %w", tunnel.ErrBroken, err), Fault: tunnel.FaultServer}
	if isTimeout(err) {
		e.Err = konnectivity.ErrGaveUp
	}
	return e
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// abandon gives up a CONNECT that was not answered: it says that nothing will
// follow, and stays to read the answer, so that the server can write it.
func (c *connection) abandon() {
	defer c.conn.Close()
	_ = c.conn.SetDeadline(time.Now().Add(abandonConnect))
	defer serverconn.EndWriting(c.conn)()
	_, _ = io.Copy(io.Discard, c.conn)
}

// part ends a connection on which nothing is awaited any more, in the background, so
// that the server is the first to end it.
func (s *Shared) part(conn net.Conn) {
	if s.Life.Err() != nil { // the process is about to end
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
