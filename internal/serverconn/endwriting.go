// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

// finPause is how long a server has to end a connection after our close_notify. It needs
// one round trip. A device in between may wait for a FIN, which is sent after that time.
const finPause = 500 * time.Millisecond

// EndWriting ends our direction of conn. Over TLS it sends close_notify, at which the
// server ends the connection. If the server has not done so after finPause, FIN follows.
// Without TLS it sends FIN at once. The caller reads conn to its end and then calls
// awaitFIN, because the server's FIN may come behind its close_notify.
//
// The side that sends FIN first keeps its port for a minute (TIME_WAIT), and both sides
// do if their FINs cross. We have few ports: all connections lead to one address of the
// server.
func EndWriting(conn net.Conn) (awaitFIN func()) {
	t, ok := conn.(*tls.Conn)
	if !ok {
		sendFIN(conn)
		return func() {}
	}
	_ = closeNotify(t)
	timer := time.AfterFunc(finPause, func() { sendFIN(conn) })
	return func() {
		_, _ = io.Copy(io.Discard, Unwrap(conn))
		timer.Stop()
	}
}

// CloseWrite ends our direction of conn, and leaves the other as it is. Over TLS it sends
// close_notify, and no FIN.
func CloseWrite(conn net.Conn) error {
	if t, ok := conn.(*tls.Conn); ok {
		return closeNotify(t)
	}
	sendFIN(conn)
	return nil
}

// Abort ends conn by RST. Over TLS it sends no close_notify, so that the server does not take
// what it has got for everything.
func Abort(conn net.Conn) error {
	socket := Unwrap(conn)
	if tcp, ok := socket.(interface{ SetLinger(sec int) error }); ok {
		_ = tcp.SetLinger(0) // a Unix socket has no RST
	}
	return socket.Close()
}

// closeNotify sends close_notify, once.
func closeNotify(t *tls.Conn) error {
	if s := socketUnder(t); s != nil {
		return s.closeWrite(t)
	}
	return t.CloseWrite()
}

func sendFIN(conn net.Conn) {
	if half, ok := Unwrap(conn).(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// Unwrap returns the socket under the layers that Connect has put on it.
func Unwrap(conn net.Conn) net.Conn {
	for {
		switch c := conn.(type) {
		case *tls.Conn:
			conn = c.NetConn()
		case closeNotifyConn:
			conn = c.Conn
		case *socket:
			conn = c.Conn
		default:
			return conn
		}
	}
}
