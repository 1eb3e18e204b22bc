// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// HTTP/2 frame types (RFC 9113, section 6).
const (
	h2Data byte = iota
	h2Headers
	_
	h2RST
	h2Settings
	_
	h2Ping
	h2GoAway
	h2WindowUpdate
	h2Continuation
)

const (
	h2EndStream  byte = 1
	h2EndHeaders byte = 4
	h2HeaderLen       = 9
)

// h2Frame is one frame, whose length may be wrong.
func h2Frame(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

// Header blocks in HPACK (RFC 7541): indexed :status 200 and 404, and a literal
// content-type that no table stores.
const (
	hpackOK       = "\x88"
	hpackNotFound = "\x8d"
	hpackGRPC     = "\x0f\x10\x10application/grpc"
	// hpackIdentity is the answer of a proxy-server to a check: literal fields, not
	// indexed, behind hpackOK and hpackGRPC.
	hpackIdentity = hpackOK + hpackGRPC + "\x00\x0bgrpc-status\x0212" + "\x00\x0cgrpc-message\x30unknown method Identity for service ProxyService"
)

// rawConn is a connection of a scripted server, below gRPC.
type rawConn struct {
	net.Conn
	streams chan uint32 // on which the client has sent headers
}

// say writes until the client has closed.
func (c rawConn) say(parts ...string) (n int) {
	for _, p := range parts {
		m, err := io.WriteString(c, p)
		n += m
		if err != nil {
			break
		}
	}
	return n
}

// listen reads the client's frames until its end.
func (c rawConn) listen() {
	defer close(c.streams)
	preface := make([]byte, len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))
	if _, err := io.ReadFull(c, preface); err != nil {
		return
	}
	for {
		var head [h2HeaderLen]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return
		}
		if head[3] == h2Headers {
			c.streams <- binary.BigEndian.Uint32(head[5:])
		}
		if _, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(head[:])>>8)); err != nil {
			return
		}
	}
}

// serveRaw starts a server that sends something on each connection.
func (p *pki) serveRaw(t *testing.T, mode tunnel.Mode, proto string, say func(rawConn)) tunnel.Server {
	t.Helper()
	l := tls.NewListener(listen(t), p.serverConfig(proto))
	var serving sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	serving.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			c := rawConn{conn, make(chan uint32, 100)}
			if proto == serverconn.ALPNHTTP2 {
				serving.Go(c.listen)
			} else {
				close(c.streams)
			}
			serving.Go(func() {
				say(c)
				for range c.streams { // until the client ends
				}
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, conn := range conns {
			_ = conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return tunnel.Server{Name: l.Addr().String(), Network: "tcp", Address: l.Addr().String(), Mode: mode}
}

// TestHostileHTTP2: a dial through a server that breaks HTTP/2, or its promises, fails
// with a reason. A connection through another server goes on, and new ones are made.
func TestHostileHTTP2(t *testing.T) {
	settings := h2Frame(h2Settings, 0, 0, "")
	flood := func(frame string) []string {
		some := strings.Repeat(frame, 1000)
		var all []string
		for range 100 {
			all = append(all, some)
		}
		return all
	}
	// onStream sends something on the stream of a dial, behind the stream of the check.
	onStream := func(say func(c rawConn, stream uint32)) func(rawConn) {
		return func(c rawConn) {
			c.say(settings)
			if stream, ok := <-c.streams; ok {
				c.say(h2Frame(h2Headers, h2EndHeaders|h2EndStream, stream, hpackIdentity))
			}
			if stream, ok := <-c.streams; ok {
				say(c, stream)
			}
		}
	}
	plain := func(parts ...string) func(rawConn) { return func(c rawConn) { c.say(parts...) } }
	grpcHead := func(stream uint32) string {
		return h2Frame(h2Headers, h2EndHeaders, stream, hpackOK+hpackGRPC)
	}
	for _, tc := range []struct {
		name   string
		say    func(rawConn)
		silent bool // there is no answer that would end the dial before its budget
	}{
		{"garbage", plain("SSH-2.0-OpenSSH_9.9\r\n"), false},
		{"much garbage", plain(flood("\x00\xff\x80garbage")...), false},
		{"an HTTP/1.1 answer", plain("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), false},
		{"a frame longer than allowed", plain("\xff\xff\xff\x04\x00\x00\x00\x00\x00", strings.Repeat("x", 1<<16)), false},
		{"settings that cannot be", plain(h2Frame(h2Settings, 0, 0, "\x00\x04\xff\xff\xff\xff")), false},
		{"half a frame, and no more", plain(settings[:5]), true},
		{"GOAWAY for everybody", plain(settings, strings.Repeat(h2Frame(h2GoAway, 0, 0, strings.Repeat("\x00", 8)), 1000)), false},
		{"GOAWAYs that contradict each other", plain(settings, h2Frame(h2GoAway, 0, 0, "\x00\x00\x00\x01\x00\x00\x00\x00"), h2Frame(h2GoAway, 0, 0, "\x00\x00\xff\xff\x00\x00\x00\x0b")), false},
		{"no streams allowed", plain(h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00\x00")), true},
		{"a flood of pings", func(c rawConn) { c.say(append([]string{settings}, flood(h2Frame(h2Ping, 0, 0, "01234567"))...)...) }, true},
		{"a flood of settings", func(c rawConn) { c.say(append([]string{settings}, flood(settings)...)...) }, true},
		{"a window larger than can be", onStream(func(c rawConn, id uint32) { c.say(flood(h2Frame(h2WindowUpdate, 0, id, "\x7f\xff\xff\xff"))...) }), true},
		{"a flood of resets", onStream(func(c rawConn, id uint32) { c.say(flood(h2Frame(h2RST, 0, id, "\x00\x00\x00\x08"))...) }), false},
		{"every stream refused", func(c rawConn) {
			c.say(settings)
			for id := range c.streams { // gRPC tries some streams again
				c.say(h2Frame(h2RST, 0, id, "\x00\x00\x00\x07"))
			}
		}, false},
		{"headers that cannot be read", onStream(func(c rawConn, id uint32) { c.say(h2Frame(h2Headers, h2EndHeaders, id, "\xff\xff\xff\xff\xff\xff")) }), false},
		{"a web server", onStream(func(c rawConn, id uint32) {
			c.say(h2Frame(h2Headers, h2EndHeaders|h2EndStream, id, hpackNotFound))
		}), false},
		{"a message of 4 GiB", onStream(func(c rawConn, id uint32) {
			c.say(grpcHead(id), h2Frame(h2Data, 0, id, "\x00\xff\xff\xff\xff"), h2Frame(h2Data, 0, id, "x"))
		}), false},
		{"a compressed message", onStream(func(c rawConn, id uint32) {
			c.say(grpcHead(id), h2Frame(h2Data, 0, id, "\x01\x00\x00\x00\x01x"))
		}), false},
		{"a message that is no packet", onStream(func(c rawConn, id uint32) {
			c.say(grpcHead(id), h2Frame(h2Data, 0, id, "\x00\x00\x00\x00\x03\xff\xff\xff"))
		}), false},
		{"an empty message", onStream(func(c rawConn, id uint32) {
			c.say(grpcHead(id), h2Frame(h2Data, 0, id, "\x00\x00\x00\x00\x00"))
		}), false},
		{"half a message, and no more", onStream(func(c rawConn, id uint32) {
			c.say(grpcHead(id), h2Frame(h2Data, 0, id, "\x00\x00\x00\x00\x09x"))
		}), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel() // some wait for their budget
			p := newPKI(t)
			d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, echoing), p.serveRaw(t, tunnel.ModeGRPC, serverconn.ALPNHTTP2, tc.say))
			beside := d.bystander(t, 0)
			budget := hang
			if tc.silent {
				budget = 300 * time.Millisecond
			}
			conn, err := through(t, d.servers[1].known()[0], target, budget)
			if err == nil {
				_ = conn.Close()
				t.Fatal("the dial succeeded")
			}
			if err.Reason != tunnel.ReasonServerUnreachable && err.Reason != tunnel.ReasonProtocol && (!tc.silent || err.Reason != tunnel.ReasonTimeout) {
				t.Errorf("reason %s (%v), want %s or %s", err.Reason, err, tunnel.ReasonServerUnreachable, tunnel.ReasonProtocol)
			}
			beside.lives()
			d.bystander(t, 0) // so does the process
		})
	}
}

// echoing is a script that accepts every dial and echoes.
func echoing(s client.ProxyService_ProxyServer) error {
	if err := accept(s); err != nil {
		return err
	}
	return echo(s)
}

// tampered is a connection of a real gRPC server into which a test writes.
type tampered struct {
	net.Conn
	mu sync.Mutex
}

// Write implements net.Conn. The server writes whole frames.
func (c *tampered) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Write(p)
}

// tamperedListener passes its connections to a test.
type tamperedListener struct {
	net.Listener
	conns chan *tampered
}

// Accept implements net.Listener.
func (l tamperedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &tampered{Conn: conn}
	l.conns <- c
	return c, nil
}

// serveTampered starts a gRPC server whose connections it returns.
func (p *pki) serveTampered(t *testing.T, script script) (tunnel.Server, <-chan *tampered) {
	t.Helper()
	l := tamperedListener{tls.NewListener(listen(t), p.serverConfig(serverconn.ALPNHTTP2)), make(chan *tampered, 10)}
	return serveScript(t, l, tunnel.ModeGRPC, script), l.conns
}

// TestHostileHTTP2Later: an established connection breaks with its server, and does not
// end in order.
func TestHostileHTTP2Later(t *testing.T) {
	const dialStream = 3 // behind the stream of the check
	// beyond ignores the stream's window for 24 MiB.
	beyond := strings.Repeat(h2Frame(h2Data, 0, dialStream, strings.Repeat("x", 16<<10)), 64)
	for _, tc := range []struct {
		name  string
		parts []string
	}{
		{"garbage", []string{"\x00\xff\xff\x99garbage, and nothing else"}},
		{"reset", []string{strings.Repeat(h2Frame(h2RST, 0, dialStream, "\x00\x00\x00\x08"), 10_000)}},
		{"headers again", []string{h2Frame(h2Headers, h2EndHeaders, dialStream, hpackOK+hpackGRPC)}},
		{"the end without CLOSE_RSP", []string{h2Frame(h2Data, h2EndStream, dialStream, "")}},
		{"GOAWAY that takes back what was begun", []string{h2Frame(h2GoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x02")}},
		{"headers without an end", append([]string{h2Frame(h2Headers, 0, dialStream, hpackOK)}, repeated(h2Frame(h2Continuation, 0, dialStream, strings.Repeat("\x00\x01a\x01b", 3000)), 1000)...)},
		{"data beyond the window", repeated(beyond, 24)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			hostile, conns := p.serveTampered(t, echoing)
			d := newDialer(t, p.client(), hang, hostile, p.serveGRPC(t, tunnel.ModeGRPC, echoing))
			conn, beside := d.bystander(t, 0), d.bystander(t, 1)
			wire := <-conns
			before := heap()
			var most uint64
			wire.mu.Lock() // the real server sends nothing more
			for _, part := range tc.parts {
				if _, err := io.WriteString(wire.Conn, part); err != nil {
					break
				}
				most = max(most, heap())
			}
			wire.mu.Unlock()
			if got, err := receiveAll(conn); !errors.Is(err, tunnel.ErrBroken) && !errors.Is(err, tunnel.ErrProtocol) {
				t.Errorf("after %d bytes the connection ended with %v, want ErrBroken or ErrProtocol", len(got), err)
			}
			if most > before+16<<20 {
				t.Errorf("the heap grew from %d to %d bytes", before, most)
			}
			beside.lives()
			_ = conn.Close()
			d.bystander(t, 0) // on a new connection to the same server
		})
	}
}

func repeated(part string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = part
	}
	return all
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
