// SPDX-License-Identifier: Apache-2.0

package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/check/target"
	"github.com/shoot-proxy/proxy-client/internal/cidr"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Targets of the fake server. What a target does is in answers of fakeServer.
const (
	pod     = "100.64.3.7:9100"
	outside = "198.51.100.7:80"
)

// world is a configuration in which everything works, with a fake server in http-connect
// mode and a fake sidecar. A test changes one thing.
type world struct {
	Config
	ca, otherCA *certtest.Pair
	dir         string
	server      *fakeServer
	state       *status.State
	failures    []status.Failure
	ready       string // the body of /readyz; empty if it is ready
	serving     bool   // the sidecar runs
	webServer   bool   // in the place of the exit
	exitSays    string // the error type with which the exit refuses targets, if it is not destination_ip_prohibited
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{ca: certtest.NewCA(t, "CA"), otherCA: certtest.NewCA(t, "another CA"), dir: t.TempDir(), serving: true}
	w.write(t, "ca.crt", w.ca.CertPEM())
	w.client(t, w.ca, x509.Certificate{})
	w.server = startServer(t, w.ca, w.issue(t, w.ca, x509.Certificate{}))
	entries, err := cidr.Parse("--shoot-pod-cidr", []string{"100.64.0.0/12"})
	must(t, err)
	excluded, err := cidr.Parse("--exclude-cidr", []string{"100.64.9.0/24"})
	must(t, err)
	set, err := cidr.New(entries, excluded)
	must(t, err)
	w.state = &status.State{Now: time.Now(), Started: time.Now().Add(-time.Hour), Open: 3, MaxConnections: 100, TotalBuffer: 1 << 20}
	w.Config = Config{
		Version: "v1.2.3", Origin: "a test", NeedsSidecar: true, CIDRs: set, Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:14001")},
		Servers:   []tunnel.Server{w.server.at(w.server.listener.Addr().String())},
		TLS:       tunnel.TLS{CAFile: w.file("ca.crt"), CertFile: w.file("client.crt"), KeyFile: w.file("client.key")},
		Names:     options.SettingNames(),
		Keepalive: 5 * time.Second,
		Probe:     func(context.Context, netip.AddrPort) error { return nil },
		hintsPort: closedPort(t),
	}
	w.target(t, pod)
	return w
}

// egressSelector makes the proxy-server at address that of an egress selector's configuration.
func (w *world) egressSelector(t *testing.T, address string) {
	t.Helper()
	w.write(t, "egress.yaml", fmt.Appendf(nil, "apiVersion: apiserver.k8s.io/v1beta1\nkind: EgressSelectorConfiguration\negressSelections:\n"+
		"- {name: cluster, connection: {proxyProtocol: HTTPConnect, transport: {tcp: {url: https://%s, tlsConfig: {caBundle: %s, clientCert: %s, clientKey: %s}}}}}\n",
		address, w.TLS.CAFile, w.TLS.CertFile, w.TLS.KeyFile))
	flags := options.NewProxyClient()
	flags.PodCIDRs, flags.EgressSelectorConfigFile = []string{"100.64.0.0/12"}, w.file("egress.yaml")
	cfg, err := flags.Config()
	must(t, err)
	w.Servers, w.TLS, w.Names = cfg.Servers, cfg.TLS, cfg.Names
}

func (w *world) target(t *testing.T, texts ...string) {
	t.Helper()
	w.Targets = nil
	for _, text := range texts {
		parsed, err := target.Parse(text)
		must(t, err)
		w.Targets = append(w.Targets, parsed)
	}
}

func (w *world) file(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(t *testing.T, name string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(w.file(name), data, 0o600))
}

// client writes a client certificate.
func (w *world) client(t *testing.T, ca *certtest.Pair, template x509.Certificate) {
	t.Helper()
	template.Subject = pkix.Name{CommonName: "client"}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	pair := ca.Issue(t, template)
	w.write(t, "client.crt", pair.CertPEM())
	w.write(t, "client.key", pair.KeyPEM(t))
}

// issue returns a certificate for the server.
func (w *world) issue(t *testing.T, ca *certtest.Pair, template x509.Certificate) *certtest.Pair {
	t.Helper()
	template.Subject = pkix.Name{CommonName: "server"}
	template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	return ca.Issue(t, template)
}

// run checks, with the fake sidecar.
func (w *world) run(t *testing.T) *report.Report {
	t.Helper()
	mux := http.NewServeMux()
	document := func(path string, content any) {
		mux.HandleFunc(path, func(rw http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(rw).Encode(content) })
	}
	document("/configuration", status.Configuration{Instance: "fake", Version: "v1.2.3"})
	document("/state", w.state)
	document("/failures", status.Failures{Now: time.Now(), Failures: w.failures})
	mux.HandleFunc("/livez", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if w.ready != "" {
			rw.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(rw, "not ready: "+w.ready+"\n")
		}
	})
	sidecar := httptest.NewServer(mux)
	defer sidecar.Close()
	if !w.serving {
		sidecar.Close()
	}
	if w.Sidecar == nil {
		w.Sidecar = Ask(t.Context(), sidecar.Listener.Addr().String())
		w.Sidecar.AskHealth(t.Context(), sidecar.Listener.Addr().String())
	}
	result, end := Run(t.Context(), w.Config)
	end()
	return result
}

// fakeServer is a proxy-server in http-connect mode with an agent. Greetings get an
// answer. A CONNECT is answered by the handler of its target, or refused by the agent.
type fakeServer struct {
	listener net.Listener

	mu      sync.Mutex                // guards the fields below: a test changes them between two checks
	targets map[string]func(net.Conn) // called behind the answer 200
	answers map[string]string         // instead: status and body of the answer; "" for none
	noAgent bool
}

func (s *fakeServer) at(address string) tunnel.Server {
	return tunnel.Server{Name: address, Network: tunnel.NetworkTCP, Address: address, Mode: tunnel.ModeAuto}
}

func startServer(t *testing.T, ca, pair *certtest.Pair) *fakeServer {
	t.Helper()
	s := &fakeServer{listener: listen(t), targets: map[string]func(net.Conn){}, answers: map[string]string{}}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert, NextProtos: []string{"http/1.1"},
	}
	serve(t, s.listener, func(conn net.Conn) { s.handle(tls.Server(conn, config)) })
	s.targets[pod] = func(net.Conn) {}
	return s
}

// change changes what the server does.
func (s *fakeServer) change(f func(*fakeServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *fakeServer) handle(conn net.Conn) {
	in := bufio.NewReader(conn)
	req, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	if req.Method != http.MethodConnect {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return
	}
	s.mu.Lock()
	answer, scripted := s.answers[req.Host]
	target, known := s.targets[req.Host]
	noAgent := s.noAgent
	s.mu.Unlock()
	switch {
	case scripted && answer == "":
		_, _ = io.Copy(io.Discard, in) // until the client gives up
	case scripted:
		_, _ = io.WriteString(conn, "HTTP/1.1 "+answer)
	case noAgent && req.Host != theExit: // the exit is found by its name
		_, _ = io.WriteString(conn, "HTTP/1.1 500 Internal Server Error\r\n\r\ncurrently no tunnels available: No agent available")
	case known:
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection Established\r\n\r\n")
		target(bufferedConn{conn, in})
	default:
		_, _ = io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\ndial tcp "+req.Host+": connect: connection refused")
	}
}

// bufferedConn reads what is buffered first.
type bufferedConn struct {
	net.Conn
	in *bufio.Reader
}

func (c bufferedConn) Read(p []byte) (int, error) { return c.in.Read(p) }

// serve calls handle for each connection, and closes it after that. At the end of the test
// all have ended.
func serve(t *testing.T, l net.Listener, handle func(net.Conn)) {
	t.Helper()
	var work sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = l.Close()
		work.Wait()
	})
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// closedPort returns a port of loopback on which nothing listens until the test ends. It is
// bound, so that no other test gets it.
func closedPort(t *testing.T) uint16 {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	bound, err := unix.Getsockname(fd)
	must(t, err)
	return uint16(bound.(*unix.SockaddrInet4).Port)
}

// names is a resolver that knows some names.
type names map[string][]netip.Addr

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if found := n[host]; len(found) > 0 {
		return found, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// silentResolver never answers.
type silentResolver struct{}

func (silentResolver) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, &net.DNSError{Err: ctx.Err().Error(), Name: host, IsTimeout: true}
}

// failingResolver fails with this error.
type failingResolver struct{ err string }

func (r failingResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, &net.DNSError{Err: r.err, Name: host, IsTemporary: true}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// text returns a report as people read it.
func textOfReport(t *testing.T, r *report.Report) string {
	t.Helper()
	var b strings.Builder
	must(t, r.WriteText(&b))
	return b.String()
}

var errOther = errors.New("another error")
