// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"errors"
	"io"
	"net"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
)

// singlePipe is a pipe, which has no half-close. CloseWrite ends it, where a socket
// would send FIN.
type singlePipe struct{ net.Conn }

// CloseWrite is Conn.Close.
func (c singlePipe) CloseWrite() error { return c.Close() }

// pipeListener is a net.Listener of the connections that are sent on it.
type pipeListener chan net.Conn

// Accept implements net.Listener.
func (l pipeListener) Accept() (net.Conn, error) {
	c, ok := <-l
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

// Close implements net.Listener.
func (l pipeListener) Close() error {
	close(l)
	return nil
}

// Addr implements net.Listener.
func (pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// bareEnd is a connection that ends without close_notify.
type bareEnd struct{ singlePipe }

// Read implements net.Conn.
func (c bareEnd) Read(p []byte) (int, error) {
	n, err := c.singlePipe.Read(p)
	if errors.Is(err, io.EOF) {
		err = serverconn.ErrNoCloseNotify
	}
	return n, err
}
