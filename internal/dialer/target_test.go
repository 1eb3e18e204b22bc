// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"io"
	"strings"
	"sync"
	"testing"

	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestDialTarget: a name reaches the server letter by letter, in both modes. The agent
// resolves it, and a server with --proxy-strategies=destHost compares it.
func TestDialTarget(t *testing.T) {
	const name = tunnel.HostPort("Shoot-A.exit:9443")
	for mode, serve := range map[tunnel.Mode]func(*testing.T, *pki, chan<- string) tunnel.Server{
		tunnel.ModeGRPC: func(t *testing.T, p *pki, asked chan<- string) tunnel.Server {
			return p.serveGRPC(t, tunnel.ModeGRPC, func(s client.ProxyService_ProxyServer) error {
				pkt, err := s.Recv()
				if err != nil {
					return err
				}
				asked <- pkt.GetDialRequest().GetAddress()
				if err := s.Send(packettest.DialRsp(pkt.GetDialRequest().GetRandom(), connID, "")); err != nil {
					return err
				}
				return linger(s)
			})
		},
		tunnel.ModeHTTPConnect: func(t *testing.T, p *pki, asked chan<- string) tunnel.Server {
			l := listen(t)
			var serving sync.WaitGroup
			t.Cleanup(func() {
				_ = l.Close()
				serving.Wait()
			})
			serving.Go(func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					c := tls.Server(conn, p.serverConfig(serverconn.ALPNHTTP1))
					if line, _, _ := strings.Cut(readRequest(c), "\r\n"); strings.HasPrefix(line, "CONNECT ") {
						asked <- strings.TrimSuffix(strings.TrimPrefix(line, "CONNECT "), " HTTP/1.1")
						_, _ = io.WriteString(c, establishedLine)
					}
					_ = c.Close()
				}
			})
			return tunnel.Server{Name: l.Addr().String(), Network: tunnel.NetworkTCP, Address: l.Addr().String(), Mode: tunnel.ModeHTTPConnect}
		},
	} {
		t.Run(string(mode), func(t *testing.T) {
			p, asked := newPKI(t), make(chan string, 8)
			d := newDialer(t, p.client(), hang, serve(t, p, asked))
			ctx, cancel := context.WithTimeout(t.Context(), hang)
			defer cancel()
			conn, err := d.DialTarget(ctx, name, nil)
			must(t, err)
			_ = conn.Close()
			if got := <-asked; got != string(name) {
				t.Errorf("the server was asked for %q, want %q", got, name)
			}
		})
	}
}
