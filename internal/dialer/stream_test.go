// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

const connID = 7

// accept answers DIAL_REQ with success, as the first step of a script.
func accept(s client.ProxyService_ProxyServer) error {
	pkt, err := s.Recv()
	if err != nil {
		return err
	}
	return s.Send(packettest.DialRsp(pkt.GetDialRequest().GetRandom(), connID, ""))
}

// linger is the last step of a script. Like the real server, it answers CLOSE_REQ and
// does not end the stream before the client.
func linger(s client.ProxyService_ProxyServer) error {
	for {
		pkt, err := s.Recv()
		if err != nil {
			return nil
		}
		if pkt.Type == client.PacketType_CLOSE_REQ {
			_ = s.Send(packettest.CloseRsp(pkt.GetCloseRequest().GetConnectID(), ""))
		}
	}
}

// echo is the last step of a script. It returns the bytes that it gets.
func echo(s client.ProxyService_ProxyServer) error {
	for {
		pkt, err := s.Recv()
		if err != nil {
			return nil
		}
		switch pkt.Type {
		case client.PacketType_DATA:
			_ = s.Send(pkt)
		case client.PacketType_CLOSE_REQ:
			_ = s.Send(packettest.CloseRsp(pkt.GetCloseRequest().GetConnectID(), ""))
		}
	}
}

// play accepts the dial, sends packets, and lingers.
func play(pkts ...*client.Packet) script {
	return func(s client.ProxyService_ProxyServer) error {
		if err := accept(s); err != nil {
			return err
		}
		for _, p := range pkts {
			if err := s.Send(p); err != nil {
				return err
			}
		}
		return linger(s)
	}
}

// TestStreamEnds: only if the proxy-server says that the target closed is there an end
// of file.
func TestStreamEnds(t *testing.T) {
	for _, tc := range []struct {
		name   string
		script script
		want   error
		data   string
	}{
		{"stream breaks", func(s client.ProxyService_ProxyServer) error {
			_ = accept(s)
			_ = s.Send(packettest.Data(connID, "half an ans"))
			return errors.New("server is going away")
		}, tunnel.ErrBroken, "half an ans"},
		{"stream ends without CLOSE_RSP", func(s client.ProxyService_ProxyServer) error { return accept(s) }, tunnel.ErrBroken, ""},
		{"data of another connection", play(packettest.Data(connID+1, "not yours")), tunnel.ErrProtocol, ""},
		{"close of another connection", play(packettest.Data(connID, "yours"), packettest.CloseRsp(connID+1, "")), tunnel.ErrProtocol, "yours"},
		{"second DIAL_RSP", play(packettest.DialRsp(1, connID, "")), tunnel.ErrProtocol, ""},
		{"DIAL_CLS on an open connection", play(&client.Packet{Type: client.PacketType_DIAL_CLS}), tunnel.ErrProtocol, ""},
		{"close with an error", play(packettest.CloseRsp(connID, "unrecognized connectID")), tunnel.ErrBroken, ""},
		{"data with an error", play(&client.Packet{
			Type: client.PacketType_DATA, Payload: &client.Packet_Data{Data: &client.Data{ConnectID: connID, Error: "lost"}},
		}), tunnel.ErrBroken, ""},
		{"target closes", play(packettest.Data(connID, "hello "), packettest.Data(connID, ""), packettest.Data(connID, "world"), packettest.CloseRsp(connID, "")), io.EOF, "hello world"},
		{"target closes at once", play(packettest.CloseRsp(connID, "")), io.EOF, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, tc.script))
			conn, err := d.dial(t)
			must(t, err)
			defer conn.Close()
			got, err := receiveAll(conn)
			if got != tc.data {
				t.Errorf("received %q, want %q", got, tc.data)
			}
			if !errors.Is(err, tc.want) {
				t.Errorf("ended with %v, want %v", err, tc.want)
			}
			if _, again := conn.Receive(); !errors.Is(again, tc.want) {
				t.Errorf("Receive after the end: %v, want %v again", again, tc.want)
			}
		})
	}
}

func receiveAll(c tunnel.Conn) (string, error) {
	var all bytes.Buffer
	for {
		p, err := c.Receive()
		if err != nil {
			return all.String(), err
		}
		all.Write(p)
	}
}

// TestStreamDialRefused: each answer to DIAL_REQ that is not a success has its reason.
// The client ends the stream, which the server never does by itself.
func TestStreamDialRefused(t *testing.T) {
	refuse := func(answer func(random int64) *client.Packet, ended chan<- struct{}) script {
		return func(s client.ProxyService_ProxyServer) error {
			defer close(ended)
			pkt, err := s.Recv()
			if err != nil {
				return err
			}
			if err := s.Send(answer(pkt.GetDialRequest().GetRandom())); err != nil {
				return err
			}
			return linger(s)
		}
	}
	for _, tc := range []struct {
		name   string
		answer func(random int64) *client.Packet
		want   tunnel.Reason
	}{
		{"another dial's answer", func(r int64) *client.Packet { return packettest.DialRsp(r+1, connID, "") }, tunnel.ReasonProtocol},
		{"data first", func(int64) *client.Packet { return packettest.Data(connID, "too early") }, tunnel.ReasonProtocol},
		{"close first", func(int64) *client.Packet { return packettest.CloseRsp(connID, "") }, tunnel.ReasonProtocol},
		{"refused", func(r int64) *client.Packet {
			return packettest.DialRsp(r, 0, "dial tcp 100.64.3.7:9100: connect: connection refused")
		}, tunnel.ReasonRefused},
		{"timeout", func(r int64) *client.Packet { return packettest.DialRsp(r, 0, "dial tcp 100.64.3.7:9100: i/o timeout") }, tunnel.ReasonTimeout},
		{"no route", func(r int64) *client.Packet {
			return packettest.DialRsp(r, 0, "dial tcp 100.64.3.7:9100: connect: no route to host")
		}, tunnel.ReasonUnreachable},
		{"something new", func(r int64) *client.Packet { return packettest.DialRsp(r, 0, "the moon is full") }, tunnel.ReasonOther},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			ended := make(chan struct{})
			d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, refuse(tc.answer, ended)))
			conn, err := d.dial(t)
			if err == nil {
				conn.Close()
				t.Fatal("the dial succeeded")
			}
			if got := tunnel.ReasonOf(err); got != tc.want {
				t.Errorf("reason %s, want %s (%v)", got, tc.want, err)
			}
			waittest.Await(t, ended, "the end of the refused dial's stream")
		})
	}
}

// TestStreamClose: Close sends CLOSE_REQ behind the data, and reads until CLOSE_RSP
// before it ends the stream.
func TestStreamClose(t *testing.T) {
	p := newPKI(t)
	saw := make(chan []client.PacketType, 1)
	sentAll := make(chan error, 1)
	d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, func(s client.ProxyService_ProxyServer) error {
		if err := accept(s); err != nil {
			return err
		}
		var types []client.PacketType
		for {
			pkt, err := s.Recv()
			if err != nil {
				return err
			}
			types = append(types, pkt.Type)
			if pkt.Type == client.PacketType_CLOSE_REQ {
				break
			}
		}
		saw <- types
		// The client must still read what was on its way.
		var err error
		for range 32 {
			err = errors.Join(err, s.Send(packettest.Data(connID, strings.Repeat("x", 32<<10))))
		}
		err = errors.Join(err, s.Send(packettest.CloseRsp(connID, "")))
		_, end := s.Recv()
		if end == nil {
			err = errors.New("a packet behind CLOSE_REQ")
		}
		sentAll <- err
		return nil
	}))
	conn, err := d.dial(t)
	must(t, err)
	must(t, conn.Send(bytes.Repeat([]byte("y"), 2*tunnel.SendUnit+1)))
	must(t, conn.Close())
	must(t, conn.Close())
	want := []client.PacketType{client.PacketType_DATA, client.PacketType_DATA, client.PacketType_DATA, client.PacketType_CLOSE_REQ}
	if got := waittest.Await(t, saw, "CLOSE_REQ"); len(got) != len(want) || got[3] != want[3] {
		t.Errorf("the server saw %v, want %v", got, want)
	}
	if err := waittest.Await(t, sentAll, "the end of the stream"); err != nil {
		t.Errorf("the server could not finish: %v", err)
	}
	if _, err := conn.Receive(); !errors.Is(err, tunnel.ErrClosed) {
		t.Errorf("Receive after Close: %v, want ErrClosed", err)
	}
	// ErrClosed means that everything was read, and that the stream was counted.
	if n := d.samples(t, "konnectivity_network_proxy_client_client_connections")["closing"]; n != 0 {
		t.Errorf("client_connections{status=closing} is %v after the end, want 0", n)
	}
}

// TestStreamAbandoned: a dial that is given up sends DIAL_CLS. If it succeeds late, its
// connection is closed, which the agent would leak otherwise.
func TestStreamAbandoned(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cancel bool
		want   tunnel.Reason
	}{{"budget", false, tunnel.ReasonTimeout}, {"app gave up", true, tunnel.ReasonCancelled}} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			asked, closed := make(chan struct{}), make(chan client.PacketType, 1)
			d := newDialer(t, p.client(), 300*time.Millisecond, p.serveGRPC(t, tunnel.ModeGRPC, func(s client.ProxyService_ProxyServer) error {
				req, err := s.Recv()
				if err != nil {
					return err
				}
				close(asked)
				if cls, err := s.Recv(); err != nil || cls.Type != client.PacketType_DIAL_CLS ||
					cls.GetCloseDial().GetRandom() != req.GetDialRequest().GetRandom() {
					closed <- -1
					return err
				}
				_ = s.Send(packettest.DialRsp(req.GetDialRequest().GetRandom(), connID, ""))
				pkt, err := s.Recv()
				if err != nil {
					closed <- -2
					return err
				}
				closed <- pkt.Type
				_ = s.Send(packettest.CloseRsp(connID, ""))
				return linger(s)
			}))
			d.connect(t) // otherwise the budget might end before the dial was sent
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.cancel {
				go func() {
					<-asked
					cancel()
				}()
			}
			_, err := d.DialContext(ctx, target, nil)
			if got := tunnel.ReasonOf(err); got != tc.want {
				t.Errorf("reason %s, want %s (%v)", got, tc.want, err)
			}
			if got := waittest.Await(t, closed, "the late connection's CLOSE_REQ"); got != client.PacketType_CLOSE_REQ {
				t.Errorf("after its late success the server saw %v, want CLOSE_REQ", got)
			}
		})
	}
}
