// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"golang.org/x/net/proxy"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/pkg/client"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// dialFunc connects to a target.
type dialFunc func(ctx context.Context, to string) (net.Conn, error)

// dialer returns the dialFunc of a client, and the same one for the same client. The next
// job therefore uses a reusable tunnel again.
func (d *driver) dialer(c Client) (dialFunc, error) {
	if dial, ok := d.dialers[c]; ok {
		return dial, nil
	}
	dial, err := d.newDialer(c)
	if err != nil {
		return nil, err
	}
	if d.dialers == nil {
		d.dialers = map[Client]dialFunc{}
	}
	d.dialers[c] = dial
	return dial, nil
}

func (d *driver) newDialer(c Client) (dialFunc, error) {
	switch c.Kind {
	case Plain:
		return func(ctx context.Context, to string) (net.Conn, error) {
			// Without keepalive: the probes of thousands of idle connections come in bursts
			// that the kernel drops, and then it ends some of these connections.
			return (&net.Dialer{KeepAlive: -1}).DialContext(ctx, "tcp", to)
		}, nil
	case SOCKS5Kind:
		p, err := proxy.SOCKS5("tcp", c.SOCKS5, nil, nil)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, to string) (net.Conn, error) {
			return p.(proxy.ContextDialer).DialContext(ctx, "tcp", to)
		}, nil
	}
	cfg, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	switch c.Kind {
	case Connect:
		return connectDialer(c.Frontend, cfg), nil
	case SingleUse:
		return singleUseDialer(c.Frontend, cfg), nil
	case Reusable:
		return d.reusableDialer(c.Frontend, cfg)
	}
	return nil, errors.New("no such kind of client")
}

// config has no session cache: without one crypto/tls does not resume.
func (f Files) config() (*tls.Config, error) {
	ca, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("%s holds no certificate", f.CA)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: lab.ServerName}, err
}

// connectDialer opens TLS and CONNECT for each connection. This is the least that
// http-connect costs a client.
func connectDialer(frontend string, cfg *tls.Config) dialFunc {
	return func(ctx context.Context, to string) (net.Conn, error) {
		dialer := tls.Dialer{Config: cfg}
		conn, err := dialer.DialContext(ctx, "tcp", frontend)
		if err != nil {
			return nil, err
		}
		if err := askConnect(conn, to); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

func askConnect(conn net.Conn, to string) error {
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", to); err != nil {
		return err
	}
	// The answer is read byte by byte, so that no byte of the target is read. crypto/tls
	// has them all buffered.
	var head []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); head = append(head, b[0]) {
		if _, err := conn.Read(b); err != nil {
			return err
		}
		if len(head) > http.DefaultMaxHeaderBytes {
			return errors.New("the answer to CONNECT has no end")
		}
	}
	if !strings.HasPrefix(string(head), "HTTP/1.1 200 ") {
		return fmt.Errorf("the proxy-server refuses: %.60q", head)
	}
	return nil
}

func singleUseDialer(frontend string, cfg *tls.Config) dialFunc {
	return func(ctx context.Context, to string) (net.Conn, error) {
		tunnel, err := client.CreateSingleUseGrpcTunnelWithContext(ctx, context.WithoutCancel(ctx), frontend,
			grpc.WithTransportCredentials(credentials.NewTLS(cfg)))
		if err != nil {
			return nil, err
		}
		return tunnel.DialContext(ctx, "tcp", to)
	}
}

func (d *driver) reusableDialer(frontend string, cfg *tls.Config) (dialFunc, error) {
	tunnel, err := client.CreateGRPCTunnel(context.Background(), frontend,
		grpc.WithTransportCredentials(credentials.NewTLS(cfg)),
		grpc.WithInitialWindowSize(4<<20), grpc.WithInitialConnWindowSize(16<<20))
	if err != nil {
		return nil, err
	}
	d.closers = append(d.closers, func() { _ = tunnel.Close() })
	return func(ctx context.Context, to string) (net.Conn, error) { return tunnel.DialContext(ctx, "tcp", to) }, nil
}
