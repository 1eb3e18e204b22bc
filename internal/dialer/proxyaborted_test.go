// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestAnAbortIsNoEnd: a standard proxy sees a reset where a connection is aborted, and no
// close_notify: it would pass that on as the end of a whole upload. A server that may be one
// of konnectivity sees close_notify, as it does after every Close.
func TestAnAbortIsNoEnd(t *testing.T) {
	const (
		named    = "HTTP/1.1 200 OK\r\nserver: x\r\n\r\n"
		tooMuch  = 64 << 20 // more than the kernels take for a server that does not read
		received = 5
	)
	for _, tc := range []struct {
		name   string
		mode   tunnel.Mode
		answer string
		send   int // bytes of a Send that is under way
		end    func(tunnel.Conn) error
		want   error
	}{
		{"an abort", tunnel.ModeHTTPSProxy, named, 0, abort, syscall.ECONNRESET},
		{"an abort of an upload that waits", tunnel.ModeHTTPSProxy, named, tooMuch, abort, syscall.ECONNRESET},
		{"an abort at konnectivity's answer, with the mode set", tunnel.ModeHTTPSProxy, establishedLine, 0, abort, syscall.ECONNRESET},
		{"an abort in http-connect mode", tunnel.ModeHTTPConnect, establishedLine, 0, abort, io.EOF},
		{"a close", tunnel.ModeHTTPSProxy, named, 0, tunnel.Conn.Close, io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			ended, result := make(chan struct{}), make(chan error, 1)
			d := newDialer(t, p.client(), hang, p.serveConnect(t, tc.mode, func(c *tls.Conn) {
				_, _ = io.WriteString(c, tc.answer)
				_, err := io.ReadFull(c, make([]byte, received))
				<-ended
				for err == nil {
					_, err = c.Read(make([]byte, 64<<10))
				}
				result <- err
			}))
			conn, err := d.dial(t)
			must(t, err)
			must(t, conn.Send([]byte(strings.Repeat("x", received))))
			sent := make(chan error, 1)
			if tc.send > 0 {
				go func() { sent <- conn.Send(make([]byte, tc.send)) }()
			}
			must(t, tc.end(conn))
			close(ended)
			if err := waittest.Await(t, result, "the end of the proxy's connection"); !errors.Is(err, tc.want) {
				t.Errorf("the proxy saw %v, want %v", err, tc.want)
			}
			if tc.send > 0 {
				if err := waittest.Await(t, sent, "the end of Send"); !errors.Is(err, tunnel.ErrBroken) {
					t.Errorf("Send ended with %v, want %v", err, tunnel.ErrBroken)
				}
			}
			if _, err := conn.Receive(); !errors.Is(err, tunnel.ErrClosed) {
				t.Errorf("Receive ended with %v, want %v", err, tunnel.ErrClosed)
			}
			must(t, conn.Close())
			waittest.Eventually(t, "that the connection is no load any more", func() bool { return d.endpoint(t).load.Load() == 0 })
		})
	}
}

// TestAnAbortOfWhatMayBeKonnectivity: such a server must see close_notify, as one of
// konnectivity.
func TestAnAbortOfWhatMayBeKonnectivity(t *testing.T) {
	p := newPKI(t)
	result := make(chan error, 1)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeAuto, func(c *tls.Conn) {
		_, _ = io.WriteString(c, establishedLine)
		_, err := c.Read(make([]byte, 1))
		result <- err
	}))
	d.endpoint(t).server.prove(serverconn.StandardRefusal)
	conn, err := d.dial(t)
	must(t, err)
	must(t, abort(conn))
	if err := waittest.Await(t, result, "the end of the server's connection"); err != io.EOF {
		t.Errorf("the server saw %v, want close_notify", err)
	}
}

func abort(c tunnel.Conn) error { return tunnel.Abort(c) }
