// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// asStockClient is the dialFunc of a program written for konnectivity, as kube-apiserver
// is. Each connection has a tunnel of konnectivity-client's, or a CONNECT.
func (r *rig) asStockClient(ctx context.Context, addr netip.Addr, port int) (net.Conn, error) {
	return r.stockDial(ctx, netip.AddrPortFrom(addr, uint16(port)).String())
}

// stockDial asks the server for host:port. The host may be a name, which the agent then
// resolves.
func (r *rig) stockDial(ctx context.Context, to string) (net.Conn, error) {
	cfg, err := r.stockTLS()
	if err != nil {
		return nil, err
	}
	if r.opts.Mode == lab.HTTPConnect {
		return r.stockConnect(ctx, cfg, to)
	}
	tunnel, err := client.CreateSingleUseGrpcTunnelWithContext(ctx, context.WithoutCancel(ctx), r.Frontend(),
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithContextDialer(func(ctx context.Context, to string) (net.Conn, error) { return r.Pod.DialContext(ctx, "tcp", to) }))
	if err != nil {
		return nil, err
	}
	return tunnel.DialContext(ctx, "tcp", to)
}

func (r *rig) stockTLS() (*tls.Config, error) {
	ca, err := os.ReadFile(r.Certs.FrontendCA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	pair, err := tls.LoadX509KeyPair(r.Certs.ClientCert, r.Certs.ClientKey)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: lab.ServerName}, err
}

func (r *rig) stockConnect(ctx context.Context, cfg *tls.Config, to string) (net.Conn, error) {
	raw, err := r.Pod.DialContext(ctx, "tcp", r.Frontend())
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", to); err != nil {
		return nil, err
	}
	// No bytes follow the answer: the targets of these tests wait for the client.
	answer, err := http.ReadResponse(bufio.NewReaderSize(conn, 16), nil)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server refuses: %s", answer.Status)
	}
	return conn, nil
}
