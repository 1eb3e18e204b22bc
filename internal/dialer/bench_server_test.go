// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// In gRPC mode the port of a connection selects the behaviour of the far side. The
// first packet to a source or a sink is a number of bytes.
var (
	benchEcho   = netip.MustParseAddrPort("100.64.3.7:1")
	benchSource = netip.MustParseAddrPort("100.64.3.7:2") // sends that many bytes
	benchSink   = netip.MustParseAddrPort("100.64.3.7:3") // sends one byte when it has received that many
)

// benchChunk is how many bytes are written at once without gRPC. Requests are multiples
// of it.
const benchChunk = 32 << 10

// serveTLS sends as many bytes on each connection as are asked for.
func serveTLS(l net.Listener) {
	for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
		go func() {
			defer conn.Close()
			var question [9]byte
			chunk := make([]byte, benchChunk)
			for {
				if _, err := io.ReadFull(conn, question[:]); err != nil {
					return
				}
				left := int64(binary.BigEndian.Uint64(question[1:]))
				if question[0] == 'u' {
					_, _ = io.CopyN(io.Discard, conn, left)
					_, _ = conn.Write([]byte("k"))
					continue
				}
				for ; left > 0; left -= benchChunk {
					if _, err := conn.Write(chunk); err != nil {
						return
					}
				}
			}
		}()
	}
}

// serveBench serves gRPC on l.
func (p *pki) serveBench(l net.Listener) {
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(p.serverConfig())))
	client.RegisterProxyServiceServer(s, scripted{script: playBench})
	_ = s.Serve(l)
}

// playBench is the script of each stream of serveBench.
func playBench(s client.ProxyService_ProxyServer) error {
	req, err := s.Recv()
	if err != nil {
		return err
	}
	if err := s.Send(packettest.DialRsp(req.GetDialRequest().GetRandom(), connID, "")); err != nil {
		return err
	}
	dst := req.GetDialRequest().GetAddress()
	if dst == benchEcho.String() {
		return echo(s)
	}
	packet := packettest.Data(connID, strings.Repeat("x", agentPacket))
	for left := 0; ; {
		pkt, err := s.Recv()
		switch {
		case err != nil:
			return nil
		case pkt.Type == client.PacketType_CLOSE_REQ:
			_ = s.Send(packettest.CloseRsp(connID, ""))
			continue
		case left == 0:
			left = int(binary.BigEndian.Uint64(pkt.GetData().GetData()))
		default:
			left -= len(pkt.GetData().GetData())
			if left == 0 {
				_ = s.Send(packettest.Data(connID, "k"))
			}
		}
		for dst == benchSource.String() && left > 0 {
			if err := s.Send(packet); err != nil {
				return nil
			}
			left -= agentPacket
		}
	}
}

// benchDialer returns a Dialer that has its shared connection to the far side.
func benchDialer(b *testing.B) *fixture {
	b.Helper()
	far := startFarSide(b)
	d := newDialer(b, far.pki.client(), hang, far.grpc)
	d.connect(b)
	return d
}

func (f *fixture) benchDial(b *testing.B, dst netip.AddrPort) tunnel.Conn {
	conn, err := f.DialContext(context.Background(), dst, nil)
	if err != nil {
		b.Error(err)
		b.FailNow()
	}
	return conn
}
