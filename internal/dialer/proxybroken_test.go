// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestBrokenBeforeItIsReceived: a connection through a standard proxy that the proxy has reset
// is broken before its caller has received what came first. One that has ended is not.
func TestBrokenBeforeItIsReceived(t *testing.T) {
	for name, reset := range map[string]bool{"a reset": true, "an end": false} {
		t.Run(name, func(t *testing.T) {
			p := newPKI(t)
			l, end := listen(t), make(chan struct{})
			var serving sync.WaitGroup
			serving.Go(func() {
				for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
					serving.Go(func() {
						defer conn.Close()
						c := tls.Server(conn, p.serverConfig())
						if readRequest(c) == "" {
							return // a spare connection
						}
						_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nserver: x\r\n\r\nhello")
						<-end
						if reset {
							_ = conn.(*net.TCPConn).SetLinger(0)
						} else {
							_ = c.CloseWrite()
						}
					})
				}
			})
			t.Cleanup(func() {
				_ = l.Close()
				serving.Wait()
			})
			d := newDialer(t, p.client(), hang, tcpServer(l, tunnel.ModeHTTPSProxy))
			conn, err := d.dial(t)
			must(t, err)
			defer conn.Close()
			if tunnel.IsBroken(conn) {
				t.Error("a connection that stands is broken")
			}
			close(end)
			if reset {
				waittest.Eventually(t, "that the connection is broken", func() bool { return tunnel.IsBroken(conn) })
			}
			if got, err := receiveAll(conn); got != "hello" || reset && !errors.Is(err, tunnel.ErrBroken) || !reset && err != io.EOF {
				t.Errorf("received %q and %v", got, err)
			}
			if !reset && tunnel.IsBroken(conn) {
				t.Error("a connection that has ended in order is broken")
			}
		})
	}
}
