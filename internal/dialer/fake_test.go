// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/http1"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/connectmode"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// The real server proves what works (test/e2e). These scripted servers prove what it
// does only in a race, or when it is broken.

// hang bounds waits that end at once if nothing is broken.
const hang = waittest.Limit

var target = netip.MustParseAddrPort("100.64.3.7:9100")

// Texts and bounds of connectmode, for scripted servers.
const (
	establishedLine = "HTTP/1.1 200 Connection Established\r\n\r\n"
	headEnd         = "\r\n\r\n"
	greeting        = http1.Greeting
	maxEndDelay     = 200 * time.Millisecond
	maxAhead        = 1 << 20
	maxHead         = 16 << 10
	spareAge        = 45 * time.Second
	abandonTimeout  = 6 * time.Second
)

// The bounds of grpcmode.
const (
	linksAtOnce  = 8
	streamWindow = 256 << 10
	smallSegment = 4 << 10
)

// pki has a CA, and certificates of a server and a client, as files and in memory.
type pki struct {
	dir    string
	pool   *x509.CertPool
	server tls.Certificate
	kill   func() // closes the listener of the last scripted CONNECT server

	newClient  func(t testing.TB) // writes another client certificate over the first
	saveServer func(t testing.TB) // writes the server's certificate, for another process
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	ca := certtest.NewCA(t, "test CA")
	p := &pki{dir: t.TempDir(), pool: ca.Pool()}
	p.write(t, "ca.crt", "CERTIFICATE", ca.Cert.Raw)
	issue := func(name string, use x509.ExtKeyUsage) *certtest.Pair {
		return ca.Issue(t, x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			ExtKeyUsage: []x509.ExtKeyUsage{use}, KeyUsage: x509.KeyUsageDigitalSignature,
		})
	}
	server := issue("server", x509.ExtKeyUsageServerAuth)
	p.server = server.TLS()
	p.newClient = func(t testing.TB) {
		t.Helper()
		p.writePair(t, "client", issue("client", x509.ExtKeyUsageClientAuth))
	}
	p.newClient(t)
	p.saveServer = func(t testing.TB) { p.writePair(t, "server", server) }
	return p
}

// readPKI returns the parts of a PKI that a server in another process needs, where the
// certificate was saved.
func readPKI(dir string) (*pki, error) {
	p := &pki{dir: dir, pool: x509.NewCertPool()}
	ca, err := os.ReadFile(p.file("ca.crt"))
	if err != nil {
		return nil, err
	}
	p.pool.AppendCertsFromPEM(ca)
	p.server, err = tls.LoadX509KeyPair(p.file("server.crt"), p.file("server.key"))
	return p, err
}

// writePair writes a certificate and its key.
func (p *pki) writePair(t testing.TB, name string, pair *certtest.Pair) {
	t.Helper()
	p.write(t, name+".crt", "CERTIFICATE", pair.Cert.Raw)
	must(t, os.WriteFile(p.file(name+".key"), pair.KeyPEM(t), 0o600))
}

func (p *pki) write(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	must(t, os.WriteFile(p.file(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) client() tunnel.TLS {
	return tunnel.TLS{CAFile: p.file("ca.crt"), CertFile: p.file("client.crt"), KeyFile: p.file("client.key")}
}

func (p *pki) serverConfig(protos ...string) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{p.server}, ClientCAs: p.pool, ClientAuth: tls.RequireAndVerifyClientCert,
		NextProtos: protos, MinVersion: tls.VersionTLS12,
	}
}

// script is the behaviour of a scripted gRPC server on one Proxy stream.
type script func(client.ProxyService_ProxyServer) error

type scripted struct {
	client.UnimplementedProxyServiceServer
	script script
}

func (s scripted) Proxy(stream client.ProxyService_ProxyServer) error { return s.script(stream) }

// serveGRPC starts a gRPC server that runs script on each stream.
func (p *pki) serveGRPC(t testing.TB, mode tunnel.Mode, script script) tunnel.Server {
	t.Helper()
	return p.serveGRPCOn(t, listen(t), mode, script)
}

func (p *pki) serveGRPCOn(t testing.TB, l net.Listener, mode tunnel.Mode, script script) tunnel.Server {
	t.Helper()
	return serveScript(t, l, mode, script, grpc.Creds(credentials.NewTLS(p.serverConfig())))
}

// serveScript runs script on each stream of a gRPC server on l.
func serveScript(t testing.TB, l net.Listener, mode tunnel.Mode, script script, opts ...grpc.ServerOption) tunnel.Server {
	t.Helper()
	srv := grpc.NewServer(opts...)
	client.RegisterProxyServiceServer(srv, scripted{script: script})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	t.Cleanup(func() {
		srv.Stop()
		<-done
	})
	return tunnel.Server{Name: l.Addr().String(), Network: "tcp", Address: l.Addr().String(), Mode: mode}
}

// serveConnect starts a TLS server that reads the CONNECT request of each connection
// and then calls handle.
func (p *pki) serveConnect(t testing.TB, mode tunnel.Mode, handle func(*tls.Conn)) tunnel.Server {
	t.Helper()
	return p.serveConnectOn(t, listen(t), mode, handle)
}

func (p *pki) serveConnectOn(t testing.TB, l net.Listener, mode tunnel.Mode, handle func(*tls.Conn)) tunnel.Server {
	t.Helper()
	p.kill = func() { _ = l.Close() }
	config := p.serverConfig(serverconn.ALPNHTTP1) // one for all connections, so that they share session tickets
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if errors.Is(err, syscall.EMFILE) {
				continue // the dialer is in this process too, and its test takes the files away
			}
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				c := tls.Server(conn, config)
				switch r := readRequest(c); {
				case r == greeting:
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
				case r != "":
					handle(c)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return tunnel.Server{Name: l.Addr().String(), Network: "tcp", Address: l.Addr().String(), Mode: mode}
}

// readRequest reads to the end of a request's headers. It returns nothing if there is
// no request.
func readRequest(c net.Conn) string {
	buf := make([]byte, 0, 4096)
	for len(buf) < cap(buf) {
		n, err := c.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if strings.HasSuffix(string(buf), headEnd) {
			return string(buf)
		}
		if err != nil {
			return ""
		}
	}
	return ""
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// fixture is a Dialer under test.
type fixture struct {
	*Dialer
	registry *prometheus.Registry
}

func newDialer(t testing.TB, files tunnel.TLS, budget time.Duration, servers ...tunnel.Server) *fixture {
	t.Helper()
	entries, err := cidr.Parse("--shoot-pod-cidr", []string{"100.64.0.0/12"})
	must(t, err)
	set, err := cidr.New(entries, nil)
	must(t, err)
	reg := prometheus.NewRegistry()
	d, err := New(Config{
		Names: options.SettingNames(), Servers: servers, TLS: files, CIDRs: set, DialTimeout: budget, Keepalive: 5 * time.Second,
		Logger: slog.New(slog.DiscardHandler), Metrics: NewMetrics(reg),
		random: func() float64 { return 0 }, // of equal ones, the first
	})
	must(t, err)
	if len(servers) > 1 {
		must(t, d.lookUpAll(t.Context())) // otherwise a dial uses the first address that is found
	}
	t.Cleanup(func() {
		must(t, d.Close())
		for _, s := range d.servers {
			for _, e := range s.known() {
				if n := e.load.Load(); n != 0 {
					t.Errorf("%s still carries %d connections after Close", e.Address(), n)
				}
			}
		}
	})
	return &fixture{Dialer: d, registry: reg}
}

func (f *fixture) dial(t testing.TB) (tunnel.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	return f.DialContext(ctx, target, nil)
}

// attempt dials once through the only server, without retries. To end these a test
// would have to end the budget, and on a busy machine that may happen at any step.
func (f *fixture) attempt(t testing.TB) (tunnel.Conn, *tunnel.Error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	t.Cleanup(cancel)
	e := f.endpoint(t)
	return e.dial(ctx, target, e.claim(), nil)
}

// connect waits until there is a shared gRPC connection.
func (f *fixture) connect(t testing.TB) {
	t.Helper()
	e := f.endpoint(t)
	if err := e.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// endpoint returns the first address of the first server.
func (f *fixture) endpoint(t testing.TB) *endpoint {
	t.Helper()
	must(t, f.lookUpAll(t.Context()))
	known := f.servers[0].known()
	if len(known) == 0 {
		t.Fatal("no address of the first server is known")
	}
	return known[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustAddrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// lookUpAll looks the names of all servers up once.
func (d *Dialer) lookUpAll(ctx context.Context) error {
	for _, s := range d.servers {
		if s.Network == tunnel.NetworkUnix {
			continue
		}
		if inside, ok := errors.AsType[*InsideShootError](s.update(ctx)); ok {
			return inside
		}
	}
	return nil
}

// grpc and connect return the Dialer of the endpoint for each mode.
func (e *endpoint) grpc() *grpcmode.Dialer { return e.protocols[tunnel.ModeGRPC].(*grpcmode.Dialer) }

func (e *endpoint) connect() *connectmode.Dialer {
	return e.protocols[tunnel.ModeHTTPConnect].(*connectmode.Dialer)
}
