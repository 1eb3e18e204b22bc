// SPDX-License-Identifier: Apache-2.0

package httpsproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// ErrSilent is the cause of the error of a dial that ended before the proxy answered. A
// proxy answers when it has reached the target, so it is most likely the target that is
// silent.
var ErrSilent = errors.New("the proxy has not answered yet, most likely because the target does not answer it")

// dial sends CONNECT and reads the answer. It closes the connection if it fails.
func (c *connection) dial(ctx context.Context, dst tunnel.Target) *tunnel.Error {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetDeadline(time.Now())
		close(fired)
	})
	// If the request cannot be written, the answer says why.
	_, _ = io.WriteString(c.conn, http1.ConnectRequest(dst.String()))
	err := c.answer()
	if !stop() {
		<-fired // from here on the deadline does not change
		if err == nil {
			err = c.failed(tunnel.ReasonTimeout, tunnel.FaultTarget, ErrSilent) // it came too late
		}
	}
	if err != nil {
		if errors.Is(err, ErrSilent) && errors.Is(ctx.Err(), context.Canceled) {
			err.Reason = tunnel.ReasonCancelled
		}
		_ = c.conn.Close()
	}
	return err
}

// answer reads until it knows what the proxy's answer is. It keeps bytes of the target that
// come with it for Receive.
func (c *connection) answer() *tunnel.Error {
	var p []byte
	piece := make([]byte, 1024)
	for {
		n, err := c.conn.Read(piece)
		p = append(p, piece[:n]...)
		c.noAnswer = len(p) == 0
		a, state := http1.Parse(p, err != nil && !serverconn.TimedOut(err)) // our own timeout is not the proxy's end
		switch {
		case state == http1.Complete && a.Successful():
			c.established(a)
			return nil
		case state == http1.Complete:
			if a.Named() {
				c.fit = serverconn.StandardRefusal
			}
			return c.dialer.refused(a)
		case http1.IsSettings(p):
			return c.failed(tunnel.ReasonProtocol, tunnel.FaultServer, http1.ErrSettings)
		case state != http1.Incomplete:
			return c.failed(tunnel.ReasonProtocol, tunnel.FaultServer, fmt.Errorf("its answer to CONNECT begins %q", clip.Text(string(p), clip.Words)))
		case errors.Is(err, io.EOF) && len(p) == 0:
			return c.failed(tunnel.ReasonProtocol, tunnel.FaultServer, http1.ErrNoAnswer)
		case err != nil:
			return c.lost(err)
		}
	}
}

// established notes a success.
func (c *connection) established(a http1.Answer) {
	c.pending = a.Rest
	c.custom = customOf(a)
	c.fit = serverconn.StandardProxy
	if mayBeKonnectivity(a) {
		c.fit = serverconn.Konnectivity
	}
	// Only a person can know better than the answer.
	c.unsure = c.dialer.Server.Mode == tunnel.ModeAuto && c.fit == serverconn.Konnectivity
	c.dialer.accepts.Store(true)
	c.dialer.proven.Store(true)
}

// failed returns the error of a dial.
func (c *connection) failed(reason tunnel.Reason, fault tunnel.Fault, err error) *tunnel.Error {
	if reason == tunnel.ReasonProtocol {
		err = fmt.Errorf("%w: %w", tunnel.ErrProtocol, err)
	}
	e := &tunnel.Error{Reason: reason, Server: c.dialer.Server.Name, Err: err, Fault: fault}
	switch reason {
	case tunnel.ReasonTimeout:
		e.Next = seeTarget
	case tunnel.ReasonProtocol:
		e.Next = c.dialer.NotAProxy()
	}
	return e
}

// lost returns the error of a connection that broke before there was an answer.
func (c *connection) lost(err error) *tunnel.Error {
	if _, ok := serverconn.RemoteAlert(err); ok {
		return c.dialer.Alerted(err)
	}
	if serverconn.TimedOut(err) {
		return c.failed(tunnel.ReasonTimeout, tunnel.FaultTarget, ErrSilent)
	}
	return c.failed(tunnel.ReasonServerUnreachable, tunnel.FaultServer, fmt.Errorf("%w: %w", tunnel.ErrBroken, err))
}
