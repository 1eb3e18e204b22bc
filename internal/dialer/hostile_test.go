// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// Tests named TestHostile… have servers that are broken on purpose. All promise the
// same: the connection on which it happens ends with its reason, and another one goes
// on.

// neighbour is the target of the connection that goes on.
var neighbour = netip.MustParseAddrPort("100.64.3.8:9100")

// beside is a server that is hostile on streams to target, and echoes on all others.
func beside(hostile script) script {
	return func(s client.ProxyService_ProxyServer) error {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		if req.GetDialRequest().GetAddress() == target.String() {
			return hostile(&unread{s, req})
		}
		if err := s.Send(packettest.DialRsp(req.GetDialRequest().GetRandom(), connID, "")); err != nil {
			return err
		}
		return echo(s)
	}
}

// unread is a stream of which a packet was read too early.
type unread struct {
	client.ProxyService_ProxyServer
	first *client.Packet
}

// Recv implements client.ProxyService_ProxyServer.
func (u *unread) Recv() (*client.Packet, error) {
	if first := u.first; first != nil {
		u.first = nil
		return first, nil
	}
	return u.ProxyService_ProxyServer.Recv()
}

// bystander is a connection that must not be affected.
type bystander struct {
	tunnel.Conn
	t *testing.T
}

// bystander dials through the i-th server.
func (f *fixture) bystander(t *testing.T, i int) bystander {
	t.Helper()
	must(t, f.lookUpAll(t.Context()))
	conn, err := through(t, f.servers[i].known()[0], neighbour, hang)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	b := bystander{conn, t}
	b.lives()
	return b
}

// through dials dst through e, within budget alone: on a busy machine answerTimeout
// could end it early.
func through(t *testing.T, e *endpoint, dst netip.AddrPort, budget time.Duration) (tunnel.Conn, *tunnel.Error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), budget)
	defer cancel()
	e.load.Add(1)
	conn, err := e.dialByMode(ctx, dst, nil)
	if err != nil {
		e.load.Add(-1)
	}
	return conn, err
}

// lives sends something there and back.
func (b bystander) lives() {
	b.t.Helper()
	const text = "still there?"
	if err := b.Send([]byte(text)); err != nil {
		b.t.Fatalf("the connection beside it cannot send any more: %v", err)
	}
	got := make(chan string, 1)
	go func() {
		var all strings.Builder
		for all.Len() < len(text) {
			p, err := b.Receive()
			if err != nil {
				all.WriteString(err.Error())
				break
			}
			all.Write(p)
		}
		got <- all.String()
	}()
	if echoed := waittest.Await(b.t, got, "the echo on the connection beside it"); echoed != text {
		b.t.Fatalf("the connection beside it got %q", echoed)
	}
}

// TestHostileStream: whatever a server sends on one stream affects only that stream.
func TestHostileStream(t *testing.T) {
	oversized := strings.Repeat("x", 5<<20)
	answer := func(make func(random int64) *client.Packet) script {
		return func(s client.ProxyService_ProxyServer) error {
			req, err := s.Recv()
			if err != nil {
				return err
			}
			return errors.Join(s.Send(make(req.GetDialRequest().GetRandom())), linger(s))
		}
	}
	typed := func(t client.PacketType) *client.Packet { return &client.Packet{Type: t} }
	for _, tc := range []struct {
		name   string
		script script
		reason tunnel.Reason // of a dial that fails
		want   error         // of an established connection
		words  string
		data   string
	}{
		{"an oversized answer", answer(func(r int64) *client.Packet { return packettest.DialRsp(r, 0, oversized) }), tunnel.ReasonServerUnreachable, nil, "larger than max", ""},
		{"DATA before DIAL_RSP", answer(func(int64) *client.Packet { return packettest.Data(connID, "early") }), tunnel.ReasonProtocol, nil, "DATA", ""},
		{"an answer without a body", answer(func(int64) *client.Packet { return typed(client.PacketType_DIAL_RSP) }), tunnel.ReasonProtocol, nil, "another dial", ""},
		{"an unknown packet for an answer", answer(func(int64) *client.Packet { return typed(99) }), tunnel.ReasonProtocol, nil, "99", ""},
		{"an endless error text", answer(func(r int64) *client.Packet { return packettest.DialRsp(r, 0, oversized[:1<<20]) }), tunnel.ReasonServerUnreachable, nil, "larger than max", ""},
		{"the longest error text", answer(func(r int64) *client.Packet { return packettest.DialRsp(r, 0, oversized[:grpcmode.MaxAnswer-64]) }), tunnel.ReasonOther, nil, "dial refused", ""},

		{"an oversized packet", play(packettest.Data(connID, "fine"), packettest.Data(connID, oversized)), "", tunnel.ErrBroken, "larger than max", "fine"},
		{"the largest packet", play(packettest.Data(connID, oversized[:grpcmode.MaxMessage-64]), packettest.CloseRsp(connID, "")), "", io.EOF, "", oversized[:grpcmode.MaxMessage-64]},
		{"a second DIAL_RSP", play(packettest.DialRsp(1, connID, "")), "", tunnel.ErrProtocol, "DIAL_RSP", ""},
		{"another connection's id", play(packettest.Data(connID, "mine"), packettest.Data(-connID, "not mine")), "", tunnel.ErrProtocol, "DATA", "mine"},
		{"an unknown packet", play(typed(99)), "", tunnel.ErrProtocol, "99", ""},
		{"a packet without a body", play(typed(client.PacketType_DATA)), "", tunnel.ErrProtocol, "DATA", ""},
		{"a client's packet", play(typed(client.PacketType_DIAL_REQ)), "", tunnel.ErrProtocol, "DIAL_REQ", ""},
		{"packets behind CLOSE_RSP", play(packettest.Data(connID, "all"), packettest.CloseRsp(connID, ""), packettest.Data(connID, "more"), packettest.CloseRsp(connID, "")), "", io.EOF, "", "all"},
		{"an endless error", play(packettest.CloseRsp(connID, oversized[:1<<20])), "", tunnel.ErrBroken, "larger than max", ""},
		{"the longest error", play(packettest.CloseRsp(connID, oversized[:grpcmode.MaxMessage-64])), "", tunnel.ErrBroken, "xxx", ""},
		{"a CLOSE_RSP before the answer", answer(func(int64) *client.Packet { return packettest.CloseRsp(connID, "") }), tunnel.ReasonProtocol, nil, "CLOSE_RSP", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, beside(tc.script)))
			beside := d.bystander(t, 0)
			conn, derr := through(t, d.endpoint(t), target, hang)
			if tc.reason != "" {
				if derr == nil {
					_ = conn.Close()
					t.Fatal("the dial succeeded")
				}
				if derr.Reason != tc.reason || !strings.Contains(derr.Error(), tc.words) {
					t.Errorf("the dial ended with %s: %.200v; want %s and the words %q", derr.Reason, derr, tc.reason, tc.words)
				}
				if n := len(derr.Error()); n > 4<<10 {
					t.Errorf("%d bytes of the server's go into the log", n)
				}
				beside.lives()
				return
			}
			if derr != nil {
				t.Fatal(derr)
			}
			got, err := receiveAll(conn)
			if got != tc.data || !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("got %d bytes %.20q and %v; want %d bytes, %v and the words %q", len(got), got, err, len(tc.data), tc.want, tc.words)
			}
			if n := len(err.Error()); n > 4<<10 {
				t.Errorf("%d bytes of the server's go into the log", n)
			}
			beside.lives()
			_ = conn.Close()
			beside.lives()
		})
	}
}

// TestHostileFlood: if an app does not read, the stream's window bounds what a server
// sends to it, and another connection has room.
func TestHostileFlood(t *testing.T) {
	t.Parallel() // it waits for a grace
	p := newPKI(t)
	var sent atomic.Int64
	closed := make(chan struct{})
	ended := make(chan struct{})
	d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, beside(func(s client.ProxyService_ProxyServer) error {
		defer close(ended)
		if err := accept(s); err != nil {
			return err
		}
		packet := packettest.Data(connID, strings.Repeat("x", 32<<10))
		for {
			if err := s.Send(packet); err != nil {
				return err
			}
			sent.Add(32 << 10)
			pace(closed)
		}
	})))
	beside := d.bystander(t, 0)
	conn, derr := through(t, d.endpoint(t), target, hang)
	if derr != nil {
		t.Fatal(derr)
	}
	waittest.Eventually(t, "the window to be full", func() bool { return sent.Load() >= streamWindow })
	for range 200 {
		beside.lives()
	}
	if n := sent.Load(); n > 8*streamWindow {
		t.Errorf("the server sent %d bytes that nobody has read; the window is %d", n, streamWindow)
	}
	must(t, conn.Close())
	close(closed)
	beside.lives()
	waittest.Await(t, ended, "the end of the flood, after Close")
	beside.lives()
}

// pace slows a flood down, once only its end is tested.
func pace(closed <-chan struct{}) {
	select {
	case <-closed:
		time.Sleep(time.Millisecond)
	default:
	}
}

// TestHostileDeaf: a server that never reads blocks the sender to it until Close, and
// no other.
func TestHostileDeaf(t *testing.T) {
	t.Parallel() // it waits for a grace
	p := newPKI(t)
	ended := make(chan struct{})
	d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, beside(func(s client.ProxyService_ProxyServer) error {
		defer close(ended)
		if err := accept(s); err != nil {
			return err
		}
		<-s.Context().Done()
		return nil
	})))
	beside := d.bystander(t, 0)
	conn, derr := through(t, d.endpoint(t), target, hang)
	if derr != nil {
		t.Fatal(derr)
	}
	sent := make(chan error, 1)
	go func() { sent <- conn.Send(make([]byte, 16<<20)) }()
	for range 200 {
		beside.lives()
	}
	must(t, conn.Close())
	if err := waittest.Await(t, sent, "the end of Send"); !errors.Is(err, tunnel.ErrBroken) && !errors.Is(err, tunnel.ErrClosed) {
		t.Errorf("Send to a server that never reads: %v, want ErrBroken or ErrClosed", err)
	}
	waittest.Await(t, ended, "the end of the stream")
	beside.lives()
}
