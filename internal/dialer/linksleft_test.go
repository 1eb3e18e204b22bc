// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// TestLinksThatCameTooLate: if dials have given up meanwhile, the connections that were
// made for them are closed, but for one.
func TestLinksThatCameTooLate(t *testing.T) {
	p := newPKI(t)
	server, l := p.serveFew(t, 1, echoing)
	d := newDialer(t, p.client(), hang, server)
	busy := d.burst(t, 1)[0]
	t.Cleanup(func() { _ = busy.Close() })
	e := d.endpoint(t)
	late := make(chan struct{})
	d.Dialer.connect = func(ctx context.Context, e *endpoint, alpn []string) (net.Conn, string, *tunnel.Error) {
		<-late
		return connectTo(ctx, e, alpn)
	}
	ctx, giveUp := context.WithCancel(t.Context())
	var dialing sync.WaitGroup
	for range linksAtOnce {
		dialing.Go(func() {
			if conn, err := d.DialContext(ctx, target, nil); tunnel.ReasonOf(err) != tunnel.ReasonCancelled {
				t.Errorf("a dial that gave up: %v, %v", conn, err)
			}
		})
	}
	waittest.Eventually(t, "a connection for each dial is being made", func() bool {
		s := e.grpc().Status()
		return s.Waiting == linksAtOnce && s.Making == linksAtOnce
	})
	giveUp()
	dialing.Wait()
	close(late)
	waittest.Eventually(t, "all of them are made, and one is kept", func() bool {
		inUse, idle := e.linkCounts()
		return l.made.Load() == 1+linksAtOnce && l.open.Load() == 2 && inUse == 2 && idle == 1
	})
}

// TestLinksThatLeaveAtOnce: a server that is full, and sends GOAWAY on each further
// connection at once, does not get one connection after the other.
func TestLinksThatLeaveAtOnce(t *testing.T) {
	p := newPKI(t)
	var made atomic.Int64
	server := p.serveRaw(t, tunnel.ModeGRPC, serverconn.ALPNHTTP2, func(c rawConn) {
		if made.Add(1) > 1 {
			c.say(h2Frame(h2Settings, 0, 0, "") + h2Frame(h2GoAway, 0, 0, "\x00\x00\x00\x00\x00\x00\x00\x00"))
			return
		}
		c.say(h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00\x01"))
		for range 2 { // the streams of the check
			id := <-c.streams
			c.say(h2Frame(h2Headers, h2EndHeaders|h2EndStream, id, hpackOK+hpackGRPC+"\x40\x0bgrpc-status\x010"))
		}
	})
	d := newDialer(t, p.client(), hang, server)
	e := d.endpoint(t)
	d.connect(t)
	ctx, giveUp := context.WithCancel(t.Context())
	var dialing sync.WaitGroup
	t.Cleanup(func() {
		giveUp()
		dialing.Wait()
	})
	dialing.Go(func() { _, _ = e.dial(ctx, target, e.claim(), nil) }) // the server never answers it
	waittest.Eventually(t, "the server is full", func() bool { return e.grpc().Wire().Streams() == 1 })
	conn, err := d.attempt(t)
	if err == nil {
		_ = conn.Close()
		t.Fatal("a dial through a server that is full")
	}
	if n := made.Load(); n > 10 || !err.Fault.Elsewhere() {
		t.Errorf("after %d connections the dial ended with %s: %v", n, err.Reason, err)
	}
}

// TestMoreStreams: a dial that waits for a connection to a full server uses room that
// the server makes meanwhile.
func TestMoreStreams(t *testing.T) {
	p := newPKI(t)
	server, conns := p.serveTampered(t, echoing)
	d := newDialer(t, p.client(), hang, server)
	busy := d.burst(t, 1)[0]
	t.Cleanup(func() { _ = busy.Close() })
	wire, e := <-conns, d.endpoint(t)
	allow := func(streams byte) {
		_, err := io.WriteString(wire, h2Frame(h2Settings, 0, 0, "\x00\x03\x00\x00\x00"+string(rune(streams))))
		must(t, err)
	}
	allow(1)
	l := e.grpc().Wire()
	waittest.Eventually(t, "the server is full", func() bool { return l.Limit() == 1 })
	d.Dialer.connect = func(ctx context.Context, e *endpoint, alpn []string) (net.Conn, string, *tunnel.Error) {
		allow(2)
		<-ctx.Done()
		return nil, "", e.Unreachable(ctx, ctx.Err())
	}
	conn, err := d.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	echoes(t, []tunnel.Conn{conn})
	must(t, conn.Close())
}
