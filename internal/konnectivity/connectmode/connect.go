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

	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/spare"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

const (
	// maxHead bounds the headers of an answer to CONNECT, and the text behind them if
	// the answer is an error.
	maxHead = http1.MaxAnswer
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

// dialOn dials dst with HTTP CONNECT on conn.
func (d *Dialer) dialOn(ctx context.Context, conn net.Conn, dst tunnel.Target, hold tunnel.Hold) (tunnel.Conn, *tunnel.Error, serverconn.Fit) {
	c := newConnection(d, d.NewConn(conn))
	serverconn.SetReadBuffer(conn, connectBuffer)
	if err := c.dial(ctx, dst, hold); err != nil {
		return nil, err, c.fit
	}
	return c, nil, c.fit
}

// dialOnSpare is dialOn on a spare connection. dead reports that the connection was
// dead. Then no byte reached the target, although the agent may have dialled it. So the
// dial may be made on another connection at once.
//
// If there are other endpoints, the server's kernel has AddressTimeout to acknowledge
// the request, which is also its time to accept a connection. TCP_USER_TIMEOUT can be
// that limit: nothing but the request is sent, for which any receive window has room.
func (d *Dialer) dialOnSpare(ctx context.Context, ready *spare.Spare, dst tunnel.Target, hold tunnel.Hold) (conn tunnel.Conn, err *tunnel.Error, dead bool, fit serverconn.Fit) {
	c := newConnection(d, ready.Conn)
	serverconn.SetReadBuffer(c.conn, connectBuffer)
	several := d.owner.Several()
	if several {
		serverconn.LimitSilence(c.conn, serverconn.AddressTimeout)
	}
	if err := c.dial(ctx, dst, hold); err != nil {
		return nil, err, c.noAnswer && ctx.Err() == nil, c.fit
	}
	if several {
		serverconn.LimitSilence(c.conn, 0)
	}
	return c, nil, false, c.fit
}

// dial sends CONNECT and reads the answer. If ctx ends first, the dial is abandoned.
func (c *connection) dial(ctx context.Context, dst tunnel.Target, hold tunnel.Hold) *tunnel.Error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetDeadline(time.Now())
		close(fired)
	})
	// If the request cannot be written, the answer says why.
	_, _ = io.WriteString(c.conn, http1.ConnectRequest(dst.String()))
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
		v, status, rest := parseHead(head, err != nil && !serverconn.TimedOut(err)) // our own timeout is not the server's end
		c.answered = time.Now()
		c.noAnswer = len(head) == 0
		switch {
		case v == headEstablished:
			c.pending, c.fit = rest, fitOf(head, v)
			return nil
		case v == headAhead:
			// The target spoke before the server, because two goroutines of the server
			// write to one connection. The dial has succeeded.
			c.ahead = &aheadFilter{}
			c.pending = c.ahead.pass(head)
			c.ended = err
			return nil
		case v == headRefused && (err != nil || len(head) <= maxHead):
			text, whole := refusal(head, rest)
			if err == nil && !whole {
				continue
			}
			c.fit = fitOf(head, v)
			return c.refused(status, text)
		case v == headGarbage, len(head) > maxHead:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: its answer to CONNECT begins %.60q", tunnel.ErrProtocol, head)}
		case v == headHTTP2:
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: %w", tunnel.ErrProtocol, http1.ErrSettings), Fault: tunnel.FaultServer}
		case errors.Is(err, io.EOF):
			return &tunnel.Error{Reason: tunnel.ReasonProtocol, Server: c.dialer.Server.Name, Err: fmt.Errorf("%w: %w to CONNECT; is it an http-connect server (%s)?", tunnel.ErrProtocol, http1.ErrNoAnswer, c.dialer.ModeSetting()), Fault: tunnel.FaultServer}
		case err != nil:
			return c.lost(err)
		}
	}
}

// refused returns the error of an answer other than 2xx. text is its body.
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
	if serverconn.TimedOut(err) {
		e.Err = konnectivity.ErrGaveUp
	}
	return e
}

// abandon gives up a CONNECT that was not answered. It ends our direction and reads
// until the answer has come, so that the server can write it.
func (c *connection) abandon() {
	defer c.conn.Close()
	_ = c.conn.SetDeadline(time.Now().Add(abandonTimeout))
	defer serverconn.EndWriting(c.conn)()
	_, _ = io.Copy(io.Discard, c.conn)
}
