// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// serveHostileConnect is serveRaw for servers that first wait for a request.
func (p *pki) serveHostileConnect(t *testing.T, answer func(rawConn)) tunnel.Server {
	t.Helper()
	return p.serveRaw(t, tunnel.ModeHTTPConnect, serverconn.ALPNHTTP1, func(c rawConn) {
		switch readRequest(c.Conn) {
		case "":
		case greeting:
			c.say("HTTP/1.1 200 OK\r\n\r\n")
			_ = c.Close()
		default:
			answer(c)
		}
	})
}

// echoConnect accepts and echoes.
func echoConnect(c rawConn) {
	c.say(establishedLine)
	_, _ = io.Copy(c.Conn, c.Conn)
}

// TestHostileConnect: a dial whose answer is not one fails with its reason as soon as
// that is clear, however long the answer goes on. Another connection goes on meanwhile.
// (FuzzConnect, which has a clock of its own, has servers that fall silent.)
func TestHostileConnect(t *testing.T) {
	const refused = "dial tcp 100.64.3.7:9100: connect: connection refused"
	// endless goes on until the client has closed.
	endless := func(begin, more string) func(rawConn) {
		return func(c rawConn) {
			more := strings.Repeat(more, 1000)
			for c.say(begin); c.say(more) == len(more); {
			}
		}
	}
	plain := func(parts ...string) func(rawConn) { return func(c rawConn) { c.say(parts...) } }
	ended := func(parts ...string) func(rawConn) {
		return func(c rawConn) {
			c.say(parts...)
			_ = c.Conn.(*tls.Conn).CloseWrite()
		}
	}
	for _, tc := range []struct {
		name   string
		answer func(rawConn)
		reason tunnel.Reason
		words  string
	}{
		{"64 KiB of headers", plain("HTTP/1.1 200 OK\r\n", strings.Repeat("X-Padding: "+strings.Repeat("x", 1000)+"\r\n", 64), "\r\nhello"), tunnel.ReasonProtocol, "answer to CONNECT"},
		{"64 KiB of headers of an error", plain("HTTP/1.1 502 Bad Gateway\r\n", strings.Repeat("X-Padding: "+strings.Repeat("x", 1000)+"\r\n", 64), "\r\n"+refused), tunnel.ReasonProtocol, "answer to CONNECT"},
		{"headers without an end", endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"), tunnel.ReasonProtocol, "answer to CONNECT"},
		{"a header without an end", endless("HTTP/1.1 200 ", "OK"), tunnel.ReasonProtocol, "answer to CONNECT"},
		{"an error without an end", endless("HTTP/1.1 502 Bad Gateway\r\n\r\n", "dial tcp: "), tunnel.ReasonProtocol, "answer to CONNECT"},
		{"an interim answer", plain("HTTP/1.1 100 Continue\r\n\r\n", establishedLine), tunnel.ReasonProtocol, "100 Continue"},
		{"early hints", plain("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), tunnel.ReasonProtocol, "103 Early Hints"},
		{"another protocol", plain("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"), tunnel.ReasonProtocol, "101 Switching"},
		{"a status that is no number", plain("HTTP/1.1 2OO OK\r\n\r\n"), tunnel.ReasonProtocol, "2OO"},
		{"a status with more digits", plain("HTTP/1.1 2000 OK\r\n\r\n"), tunnel.ReasonProtocol, "2000"},
		{"a chunked error", ended("HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n36\r\n", refused, "\r\n0\r\n\r\n"), tunnel.ReasonRefused, refused},
		{"a chunked error in pieces", ended("HTTP/1.1 504 Gateway Timeout\r\nTransfer-Encoding: chunked\r\n\r\n", "3\r\ni/o\r\n", "8\r\n timeout\r\n0\r\n\r\n"), tunnel.ReasonTimeout, "i/o timeout"},
		{"a redirection", ended("HTTP/1.1 302 Found\r\nLocation: https://elsewhere/\r\n\r\n"), tunnel.ReasonOther, "302"},
		{"no TLS any more", func(c rawConn) { _, _ = io.WriteString(c.Conn.(*tls.Conn).NetConn(), "garbage, not a record") }, tunnel.ReasonServerUnreachable, "tls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			d := newDialer(t, p.client(), hang, p.serveHostileConnect(t, echoConnect), p.serveHostileConnect(t, tc.answer))
			beside := d.bystander(t, 0)
			conn, err := through(t, d.servers[1].known()[0], target, hang)
			if err == nil {
				_ = conn.Close()
				t.Fatal("the dial succeeded")
			}
			if err.Reason != tc.reason || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("the dial ended with %s: %.300v; want %s and the words %q", err.Reason, err, tc.reason, tc.words)
			}
			beside.lives()
			d.bystander(t, 0)
		})
	}
}

// TestHostileConnectLater: an established connection breaks with its server, or goes on
// if the server does.
func TestHostileConnectLater(t *testing.T) {
	p := newPKI(t)
	for _, tc := range []struct {
		name   string
		attack func(*tls.Conn)
		data   string
		want   error
	}{
		{"garbage instead of TLS", func(c *tls.Conn) { _, _ = io.WriteString(c.NetConn(), "garbage, not a record") }, "", tunnel.ErrBroken},
		{"a record of a length that cannot be", func(c *tls.Conn) { _, _ = io.WriteString(c.NetConn(), "\x17\x03\x03\xff\xff") }, "", tunnel.ErrBroken},
		{"a record that was changed on its way", func(c *tls.Conn) { _, _ = io.WriteString(c.NetConn(), "\x17\x03\x03\x00\x20"+strings.Repeat("x", 32)) }, "", tunnel.ErrBroken},
		{"an answer again", func(c *tls.Conn) {
			_, _ = io.WriteString(c, establishedLine)
			_ = c.CloseWrite()
		}, establishedLine, io.EOF}, // a target may send any bytes
	} {
		t.Run(tc.name, func(t *testing.T) {
			attack := make(chan struct{})
			hostile := p.serveHostileConnect(t, func(c rawConn) {
				c.say(establishedLine)
				<-attack
				tc.attack(c.Conn.(*tls.Conn))
			})
			d := newDialer(t, p.client(), hang, p.serveHostileConnect(t, echoConnect), hostile)
			beside := d.bystander(t, 0)
			conn, derr := through(t, d.servers[1].known()[0], target, hang)
			if derr != nil {
				t.Fatal(derr)
			}
			close(attack)
			got, err := receiveAll(conn)
			if got != tc.data || !errors.Is(err, tc.want) {
				t.Errorf("got %q and %v, want %q and %v", got, err, tc.data, tc.want)
			}
			_ = conn.Close()
			beside.lives()
		})
	}
}

// TestHostileConnectFlood: if an app does not read, the kernel's buffer bounds what a
// server can send to it.
func TestHostileConnectFlood(t *testing.T) {
	t.Parallel() // it waits for a grace
	p := newPKI(t)
	var sent atomic.Int64
	closed := make(chan struct{})
	ended := make(chan struct{})
	d := newDialer(t, p.client(), hang, p.serveHostileConnect(t, echoConnect), p.serveHostileConnect(t, func(c rawConn) {
		defer close(ended)
		part := strings.Repeat("x", 32<<10)
		c.say(establishedLine)
		for c.say(part) == len(part) {
			sent.Add(int64(len(part)))
			pace(closed)
		}
	}))
	beside := d.bystander(t, 0)
	conn, err := through(t, d.servers[1].known()[0], target, hang)
	if err != nil {
		t.Fatal(err)
	}
	waittest.Eventually(t, "the first bytes", func() bool { return sent.Load() > 0 })
	for range 200 {
		beside.lives()
	}
	if n := sent.Load(); n > 32<<20 {
		t.Errorf("the server sent %d bytes that nobody has read", n)
	}
	must(t, conn.Close())
	close(closed)
	beside.lives()
	waittest.Await(t, ended, "the end of the flood, after Close")
}

// TestHostileConnectDeaf: a server that never reads blocks the sender to it until
// Close, and no other.
func TestHostileConnectDeaf(t *testing.T) {
	t.Parallel() // it waits for a grace
	p := newPKI(t)
	release := make(chan struct{})
	d := newDialer(t, p.client(), hang, p.serveHostileConnect(t, echoConnect), p.serveHostileConnect(t, func(c rawConn) {
		c.say(establishedLine)
		<-release
		_ = c.Close()
	}))
	beside := d.bystander(t, 0)
	conn, err := through(t, d.servers[1].known()[0], target, hang)
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() { sent <- conn.Send(make([]byte, 32<<20)) }()
	for range 200 {
		beside.lives()
	}
	must(t, conn.Close())
	if err := waittest.Await(t, sent, "the end of Send"); !errors.Is(err, tunnel.ErrBroken) && !errors.Is(err, tunnel.ErrClosed) {
		t.Errorf("Send to a server that never reads: %v, want ErrBroken or ErrClosed", err)
	}
	beside.lives()
	close(release)
}
