// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// write writes each part as one TLS record, as the real server does.
func write(parts ...string) func(*tls.Conn) {
	return func(c *tls.Conn) {
		for _, p := range parts {
			_, _ = io.WriteString(c, p)
		}
	}
}

// ending is the way in which a scripted server ends a connection.
type ending int

const (
	orderly ending = iota // close_notify
	killed                // FIN, and the server is gone
	hasty                 // FIN, and the server is still there
)

// TestConnectEnds: whatever the order in which the server's two goroutines write, the
// app gets the target's bytes, all of them and nothing else. Only close_notify is an
// end of file.
func TestConnectEnds(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 10_000)
	for _, tc := range []struct {
		name  string
		parts []string
		end   ending
		data  string
		want  error
	}{
		{"killed server", []string{establishedLine, "half an ans"}, killed, "half an ans", tunnel.ErrBroken},
		{"killed before a byte", []string{establishedLine}, killed, "", tunnel.ErrBroken},
		{"killed before a byte, and another server answers", []string{establishedLine}, hasty, "", tunnel.ErrBroken},
		{"no answer to CONNECT", []string{strings.Repeat("x", maxAhead+1)}, killed, strings.Repeat("x", maxAhead+1), tunnel.ErrProtocol},
		{"in order", []string{establishedLine, "SSH-2.0-x\r\n"}, orderly, "SSH-2.0-x\r\n", io.EOF},
		{"in one piece", []string{establishedLine + "SSH-2.0-x\r\n"}, orderly, "SSH-2.0-x\r\n", io.EOF},
		{"other headers", []string{"HTTP/1.1 200 OK\r\nVia: 1.1 x\r\n\r\nabc"}, orderly, "abc", io.EOF},
		{"bytes ahead", []string{"SSH-2.0-x\r\n", establishedLine, "more"}, orderly, "SSH-2.0-x\r\nmore", io.EOF},
		{"one byte ahead", []string{"H", establishedLine, "more"}, orderly, "Hmore", io.EOF},
		{"ahead, like the line", []string{"HTTP", "/1.1", establishedLine, "x"}, orderly, "HTTP/1.1x", io.EOF},
		{"ahead, ends like the line", []string{"abc HTTP/1.1 200", establishedLine, "x"}, orderly, "abc HTTP/1.1 200x", io.EOF},
		{"much ahead", []string{long, long, establishedLine, long}, orderly, long + long + long, io.EOF},
		{"wrote and closed, no 200", []string{"bye"}, orderly, "bye", io.EOF},
		{"wrote a prefix and closed, no 200", []string{"HTT"}, orderly, "HTT", io.EOF},
		{"close in the way of the 200", []string{establishedLine, "bye"}, hasty, "bye", io.EOF},
		{"close in the way of a late 200", []string{"bye", establishedLine}, hasty, "bye", io.EOF},
		{"close in the way of a lost 200", []string{"bye"}, hasty, "bye", io.EOF},
		{"wrote and closed, 200 last", []string{"bye", establishedLine}, orderly, "bye", io.EOF},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
				write(tc.parts...)(c)
				switch tc.end {
				case orderly:
					_ = c.CloseWrite()
				case killed:
					p.kill()
				}
			}))
			conn, err := d.dial(t)
			must(t, err)
			defer conn.Close()
			got, err := receiveAll(conn)
			if got != tc.data && !errors.Is(tc.want, tunnel.ErrProtocol) {
				t.Errorf("received %d bytes %.60q, want %d bytes %.60q", len(got), got, len(tc.data), tc.data)
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("ended with %v, want %v", err, tc.want)
			}
		})
	}
}

// TestConnectKilledBehindABalancer: a server that is killed leaves a FIN alone, and
// behind a balancer another server answers at the same address. An app that has sent
// something must not take that for the target's end, however young its connection is.
func TestConnectKilledBehindABalancer(t *testing.T) {
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		write(establishedLine, "220 hello\r\n")(c)
		_, _ = c.Read(make([]byte, 1))
	}))
	conn, err := d.dial(t)
	must(t, err)
	defer conn.Close()
	must(t, conn.Send([]byte("a question")))
	if got, err := receiveAll(conn); !errors.Is(err, tunnel.ErrBroken) {
		t.Errorf("received %q and %v, want the connection to be broken", got, err)
	}
}

// TestConnectKilledLater: nor must an app to which the target sent something a while
// ago.
func TestConnectKilledLater(t *testing.T) {
	p := newPKI(t)
	end := make(chan struct{})
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		write(establishedLine, "half an ans")(c)
		<-end
	}))
	conn, err := d.dial(t)
	must(t, err)
	defer conn.Close()
	time.Sleep(maxEndDelay) // the end does not follow the answer directly
	close(end)
	if got, err := receiveAll(conn); got != "half an ans" || !errors.Is(err, tunnel.ErrBroken) {
		t.Errorf("received %q and %v, want all of it and ErrBroken", got, err)
	}
}

// TestConnectEndsAsItsServerHangs: a FIN alone directly behind the answer is the
// target's end if the server is there, even if it is too busy to answer.
func TestConnectEndsAsItsServerHangs(t *testing.T) {
	p := newPKI(t)
	l := &hangingListener{Listener: listen(t)}
	d := newDialer(t, p.client(), hang, p.serveConnectOn(t, l, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		l.hung.Store(true)
		write(establishedLine, "220 hello\r\n")(c)
	}))
	conn, err := d.dial(t)
	must(t, err)
	defer conn.Close()
	if got, err := receiveAll(conn); got != "220 hello\r\n" || !errors.Is(err, io.EOF) {
		t.Errorf("received %q and %v, want all of it and its end", got, err)
	}
}

// hangingListener is a listener of a process that does nothing more once it hangs.
type hangingListener struct {
	net.Listener
	hung atomic.Bool
	held []net.Conn
}

func (l *hangingListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err == nil && l.hung.Load() {
			l.held = append(l.held, conn)
			continue
		}
		if err != nil {
			for _, c := range l.held {
				_ = c.Close()
			}
		}
		return conn, err
	}
}

// TestConnectRefused: the reason follows from status and text.
func TestConnectRefused(t *testing.T) {
	const head = "HTTP/1.1 %s\r\nContent-Type: text/plain\r\n\r\n%s"
	for _, tc := range []struct {
		answer string
		want   tunnel.Reason
		words  string
	}{
		{"HTTP/1.1 ABC\r\n\r\n", tunnel.ReasonProtocol, "answer to CONNECT"},
		{"HTTP/1.1 200 Connection Estab", tunnel.ReasonProtocol, "answer to CONNECT"},
		{"", tunnel.ReasonProtocol, "without an answer"},
		{"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead) + "\r\n\r\n", tunnel.ReasonProtocol, "answer to CONNECT"},
		{fmt.Sprintf(head, "500 Internal Server Error", "currently no tunnels available: No agent available"), tunnel.ReasonNoAgent, "No agent available"},
		{fmt.Sprintf(head, "500 Internal Server Error", ""), tunnel.ReasonNoAgent, "500"},
		{fmt.Sprintf(head, "502 Bad Gateway", "dial tcp 100.64.3.7:9100: connect: connection refused"), tunnel.ReasonRefused, "connection refused"},
		{fmt.Sprintf(head, "502 Bad Gateway", "Backend context error: context canceled"), tunnel.ReasonNoAgent, "Backend"},
		{fmt.Sprintf(head, "504 Gateway Timeout", "dial tcp 100.64.3.7:9100: i/o timeout"), tunnel.ReasonTimeout, "i/o timeout"},
		{fmt.Sprintf(head, "504 Gateway Timeout", ""), tunnel.ReasonTimeout, "504"},
		{fmt.Sprintf(head, "405 Method Not Allowed", "what?"), tunnel.ReasonProtocol, "405"},
		{fmt.Sprintf(head, "429 Too Many Requests", "what?"), tunnel.ReasonOther, "429"},
	} {
		t.Run(fmt.Sprintf("%.40q", tc.answer), func(t *testing.T) {
			p := newPKI(t)
			d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
				write(tc.answer)(c)
				_ = c.CloseWrite()
			}))
			conn, err := d.attempt(t)
			if err == nil {
				conn.Close()
				t.Fatal("the dial succeeded")
			}
			if got := tunnel.ReasonOf(err); got != tc.want || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("got reason %s: %v; want %s and the words %q", got, err, tc.want, tc.words)
			}
		})
	}
}

// TestConnectAbandoned: a CONNECT that was given up ends with close_notify, and its
// connection takes the late answer. A server that cannot write its 200 leaks the
// target's connection.
func TestConnectAbandoned(t *testing.T) {
	p := newPKI(t)
	asked, result := make(chan struct{}), make(chan error, 1)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		close(asked)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			result <- fmt.Errorf("the app gave up, and the server saw %w, want close_notify", err)
			return
		}
		_, err := c.Write(append([]byte(establishedLine), bytes.Repeat([]byte("x"), 1<<20)...))
		result <- err
	}))
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := d.DialContext(ctx, target, nil)
	if got := tunnel.ReasonOf(err); got != tunnel.ReasonCancelled {
		t.Errorf("reason %s, want cancelled (%v)", got, err)
	}
	if err := waittest.Await(t, result, "the late answer"); err != nil {
		t.Error(err)
	}
}

// TestConnectClose: Close sends close_notify behind the data and reads what is still
// coming, so that the server never gets a reset.
func TestConnectClose(t *testing.T) {
	p := newPKI(t)
	result := make(chan error, 1)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		write(establishedLine)(c)
		got, err := io.ReadAll(c)
		if err == nil && string(got) != "hello" {
			err = fmt.Errorf("the server read %q, want hello", got)
		}
		_, werr := c.Write(make([]byte, 1<<20))
		result <- errors.Join(err, werr)
		_ = c.CloseWrite()
	}))
	conn, err := d.dial(t)
	must(t, err)
	must(t, conn.Send([]byte("hello")))
	must(t, conn.Close())
	must(t, conn.Close())
	if _, err := conn.Receive(); !errors.Is(err, tunnel.ErrClosed) {
		t.Errorf("Receive after Close: %v, want ErrClosed", err)
	}
	if err := waittest.Await(t, result, "the end of the server's connection"); err != nil {
		t.Error(err)
	}
}

// Close must not write into the bytes that Receive has returned: the relay may be
// writing them to the app.
func TestConnectCloseLeavesReceivedBytesAlone(t *testing.T) {
	const first, later = "the target's bytes", "something else, and more of it"
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		write(establishedLine)(c)
		var b [1]byte
		_, _ = c.Read(b[:])
		write(first)(c)
		_, _ = io.Copy(io.Discard, c) // until Close has ended its direction
		write(later)(c)
		_ = c.CloseWrite()
	}))
	conn, err := d.dial(t)
	must(t, err)
	must(t, conn.Send([]byte("?"))) // so that its answer does not come with the 200
	got, err := conn.Receive()
	must(t, err)
	must(t, conn.Close())
	must(t, d.Close()) // waits until the connection was read to its end
	if string(got) != first {
		t.Errorf("after Close the bytes received before are %q, want %q", got, first)
	}
}
