// SPDX-License-Identifier: Apache-2.0

package serverconn

import (
	"crypto/tls"
	"io"
	"net"
	"time"
)

// finPause is how long a server has to end a connection after our close_notify. It
// does so in one round trip; something in between may wait for a FIN.
const finPause = 500 * time.Millisecond

// SayLast ends what we say on conn. Over TLS that is close_notify, at which the
// server ends the connection; FIN follows where it has not done so after finPause.
// Without TLS it is FIN at once. Call awaitFIN when conn was read to its end: the
// server's FIN may come behind its close_notify.
//
// The end that sends FIN first keeps its port for a minute (TIME_WAIT), and both do if
// their FINs meet. Ours are few, since all of them lead to one address of the server.
func SayLast(conn net.Conn) (awaitFIN func()) {
	t, ok := conn.(*tls.Conn)
	if !ok {
		sayFIN(conn)
		return func() {}
	}
	if s := socketUnder(t); s != nil {
		_ = s.closeWrite(t)
	} else {
		_ = t.CloseWrite()
	}
	timer := time.AfterFunc(finPause, func() { sayFIN(conn) })
	return func() {
		_, _ = io.Copy(io.Discard, Unwrap(conn))
		timer.Stop()
	}
}

func sayFIN(conn net.Conn) {
	if half, ok := Unwrap(conn).(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// Unwrap returns the socket under what Connect has put around it.
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
