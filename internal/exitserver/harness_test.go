// SPDX-License-Identifier: Apache-2.0

package exitserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/logtest"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// allowLoopback is a policy that lets the client "app" reach the targets of tests.
const allowLoopback = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules:
- clients: [{commonName: app}]
  cidrs: [127.0.0.0/8, "::1/128"]
  names: ["*"]
`

// names is a resolver with fixed answers.
type names map[string][]netip.Addr

// LookupNetIP implements Resolver.
func (n names) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	if host == "silent.test." {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if found, ok := n[host]; ok {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// testExit is an exit that serves.
type testExit struct {
	*Server
	address  string
	ca       *certtest.Pair
	log      *logtest.Buffer
	registry *prometheus.Registry
	policy   atomic.Pointer[exitpolicy.Policy]
	clientCA atomic.Pointer[Certificates]
	stop     func() error // ends Run, and returns its error
}

// newExit starts an exit with a policy. change may be nil.
func newExit(t testing.TB, policy string, change func(*Config)) *testExit {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &testExit{address: listener.Addr().String(), ca: certtest.NewCA(t, "test CA"), log: &logtest.Buffer{}, registry: prometheus.NewRegistry()}
	e.setPolicy(t, policy)
	server := e.ca.Issue(t, x509.Certificate{DNSNames: []string{"exit.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	e.clientCA.Store(&Certificates{Server: server.TLS(), Clients: e.ca.Pool(), Version: 1})
	cfg := Config{
		ClientCA: "--client-ca=clients.crt",
		Listener: listener, Certificates: func() (*Certificates, error) { return e.clientCA.Load(), nil },
		Policy: e.policy.Load, Resolver: names{}, OwnPorts: []uint16{netip.MustParseAddrPort(e.address).Port()},
		DialTimeout: 2 * time.Second, HandshakeTimeout: waittest.Limit, DrainTimeout: waittest.Limit, RestTimeout: waittest.Limit,
		Limits: Limits{Connections: 64, Streams: 1 << 14, ClientConnections: 32, ClientStreams: 1 << 14, Buffer: 64 << 20},
		Logger: e.log.Logger(slog.LevelInfo), Metrics: NewMetrics(e.registry),
	}
	if change != nil {
		change(&cfg)
	}
	e.Server = New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	e.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		e.Abort()
		if err := e.stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return e
}

func (e *testExit) setPolicy(t testing.TB, text string) {
	t.Helper()
	policy, err := exitpolicy.Parse([]byte(text))
	if err != nil {
		t.Fatalf("the policy %v", err)
	}
	e.policy.Store(policy)
}

// certificate returns a client certificate with a common name.
func (e *testExit) certificate(t testing.TB, commonName string) *certtest.Pair {
	t.Helper()
	return e.ca.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: commonName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// clientTLS returns a client's configuration.
func (e *testExit) clientTLS(pair *certtest.Pair) *tls.Config {
	cfg := &tls.Config{RootCAs: e.ca.Pool(), ServerName: "exit.test", NextProtos: []string{"h2"}}
	if pair != nil {
		cfg.Certificates = []tls.Certificate{pair.TLS()}
	}
	return cfg
}

// connect returns a client's connection, made by golang.org/x/net/http2.
func (e *testExit) connect(t testing.TB, commonName string) *http2.ClientConn {
	t.Helper()
	client, _ := e.connectBreakable(t, commonName)
	return client
}

// connectBreakable is connect, and returns the TCP connection as well. ClientConn.Close may
// reset the streams before it closes that.
func (e *testExit) connectBreakable(t testing.TB, commonName string) (*http2.ClientConn, net.Conn) {
	t.Helper()
	conn, err := tls.Dial("tcp", e.address, e.clientTLS(e.certificate(t, commonName)))
	if err != nil {
		t.Fatal(err)
	}
	client, err := (&http2.Transport{}).NewClientConn(conn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client, conn.NetConn()
}

// tunnel is one CONNECT of a client.
type tunnel struct {
	*http.Response
	send   *io.PipeWriter
	cancel context.CancelFunc
}

// open sends a CONNECT to a target, and returns the answer.
func open(t testing.TB, client *http2.ClientConn, target string) *tunnel {
	t.Helper()
	tunnel, err := tryOpen(client, target)
	if err != nil {
		t.Fatalf("CONNECT %s: %v", target, err)
	}
	t.Cleanup(tunnel.close)
	return tunnel
}

func tryOpen(client *http2.ClientConn, target string) (*tunnel, error) {
	ctx, cancel := context.WithCancel(context.Background())
	body, send := io.Pipe()
	request := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Scheme: "https", Host: target}, Host: target, Body: body, Header: http.Header{}, ContentLength: -1}).WithContext(ctx)
	response, err := client.RoundTrip(request)
	if err != nil {
		cancel()
		return nil, err
	}
	return &tunnel{response, send, cancel}, nil
}

func (u *tunnel) close() {
	_ = u.send.Close()
	u.cancel()
	_ = u.Body.Close()
}

// echo sends text, and fails the test if it does not come back.
func (u *tunnel) echo(t testing.TB, text string) {
	t.Helper()
	if _, err := io.WriteString(u.send, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(u.Body, got); err != nil || string(got) != text {
		t.Fatalf("got %q and %v, want %q", got, err, text)
	}
}

// listen returns the address of a target. serve is called for each connection, in a
// goroutine of its own, and has to close it.
func listen(t testing.TB, serve func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { serve(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { _ = listener.Close(); tasks.Wait() })
	return listener.Addr().String()
}

// listenEcho returns the address of a target that sends back what it gets.
func listenEcho(t testing.TB) string {
	return listen(t, func(conn *net.TCPConn) {
		defer conn.Close()
		_, _ = io.Copy(conn, conn)
	})
}

// metric returns the value of a metric with one label, or with none.
func (e *testExit) metric(t testing.TB, name string, label ...string) float64 {
	t.Helper()
	families, err := e.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			if len(label) > 0 && m.GetLabel()[0].GetValue() != label[0] {
				continue
			}
			if c := m.GetCounter(); c != nil {
				return c.GetValue()
			}
			return m.GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s%v", name, label)
	return 0
}

// freePort returns a port on which nothing listens.
func freePort(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.9:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func mustURL(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil {
		panic(err)
	}
	return u
}

// wantCancelled waits for a reset whose cause is the exit and not the target.
func (u *tunnel) wantCancelled(t testing.TB) {
	t.Helper()
	_, err := u.Body.Read(make([]byte, 1))
	if failure, ok := errors.AsType[http2.StreamError](err); !ok || failure.Code != http2.ErrCodeCancel {
		t.Errorf("the client sees %v, want RST_STREAM with CANCEL", err)
	}
}
