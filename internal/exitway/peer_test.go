// SPDX-License-Identifier: Apache-2.0

package exitway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// pki has the certificates of exits and clients, as files and in memory.
type pki struct {
	dir     string
	ca      *certtest.Pair
	exit    tls.Certificate
	clients *x509.CertPool // CAs of clients
}

func newPKI(t testing.TB) *pki {
	t.Helper()
	ca := certtest.NewCA(t, "exit CA")
	p := &pki{dir: t.TempDir(), ca: ca, clients: ca.Pool()}
	p.exit = p.issue(t, "exit", x509.ExtKeyUsageServerAuth).TLS()
	must(t, os.WriteFile(p.file("ca.crt"), ca.CertPEM(), 0o600))
	p.newClient(t, "client")
	return p
}

func (p *pki) issue(t testing.TB, name string, use x509.ExtKeyUsage) *certtest.Pair {
	t.Helper()
	return p.ca.Issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".example"}, IPAddresses: []net.IP{net.IPv4(10, 250, 0, 10)},
		ExtKeyUsage: []x509.ExtKeyUsage{use}, KeyUsage: x509.KeyUsageDigitalSignature,
	})
}

// newClient writes a client certificate with this name, in the place of the one before.
func (p *pki) newClient(t testing.TB, name string) {
	t.Helper()
	pair := p.issue(t, name, x509.ExtKeyUsageClientAuth)
	must(t, os.WriteFile(p.file("client.key"), pair.KeyPEM(t), 0o600))
	must(t, os.WriteFile(p.file("client.crt"), pair.CertPEM(), 0o600))
}

func (p *pki) file(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) files() tunnel.TLS {
	return tunnel.TLS{CAFile: p.file("ca.crt"), CertFile: p.file("client.crt"), KeyFile: p.file("client.key"), ServerName: "exit.example"}
}

// exitServer is a CONNECT server of net/http, which nobody here wrote.
type exitServer struct {
	*http.Server
	addr netip.AddrPort
	pki  *pki

	mu     sync.Mutex
	asked  []string // :authority of each CONNECT
	names  []string // of the clients' certificates, for each CONNECT
	accept int      // connections
	refuse func(w http.ResponseWriter, target string) bool
	serve  func(w http.ResponseWriter, r *http.Request) // echo if it is nil
}

// startExit starts an exit. change may change it first.
func startExit(t testing.TB, p *pki, change func(*exitServer)) *exitServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	e := &exitServer{addr: l.Addr().(*net.TCPAddr).AddrPort(), pki: p}
	e.Server = &http.Server{
		Handler: e, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{p.exit}, ClientCAs: p.clients, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13,
		},
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				e.mu.Lock()
				e.accept++
				e.mu.Unlock()
			}
		},
	}
	if change != nil {
		change(e)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = e.Server.Close()
		<-done
	})
	return e
}

// ServeHTTP answers a CONNECT.
func (e *exitServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.asked, e.names = append(e.asked, r.Host), append(e.names, r.TLS.PeerCertificates[0].Subject.CommonName)
	e.mu.Unlock()
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	if e.refuse != nil && e.refuse(w, r.Host) {
		return
	}
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	if e.serve != nil {
		e.serve(w, r)
		return
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Body.Read(buf)
		if n > 0 {
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
		}
		if err != nil {
			return
		}
	}
}

// connections returns how many connections were accepted.
func (e *exitServer) connections() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.accept
}

// clients returns the names of the clients' certificates, for each CONNECT.
func (e *exitServer) clientNames() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]string(nil), e.names...)
}

// network is the outer dialer of a test. It connects to exits by their names.
type network struct {
	mu    sync.Mutex
	exits map[tunnel.HostPort]netip.AddrPort // missing: the agent gets "connection refused"
	fails *tunnel.Error                      // of each dial of an exit, if it is set
	asked int                                // dials of exits
	plain int                                // dials of targets
	conns []*netConn
}

func newNetwork(exits map[tunnel.HostPort]netip.AddrPort) *network { return &network{exits: exits} }

// set makes an exit reachable at addr, or unreachable if addr is zero.
func (n *network) set(exit tunnel.HostPort, addr netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.exits, exit)
	if addr.IsValid() {
		n.exits[exit] = addr
	}
}

// DialTarget implements Outer.
func (n *network) DialTarget(ctx context.Context, dst tunnel.Target, _ tunnel.Hold) (tunnel.Conn, error) {
	n.mu.Lock()
	n.asked++
	addr, fails := n.exits[tunnel.HostPort(dst.String())], n.fails
	n.mu.Unlock()
	if fails != nil {
		return nil, fails
	}
	if !addr.IsValid() {
		return nil, &tunnel.Error{Reason: tunnel.ReasonRefused, Server: "server", Err: errors.New("connect: connection refused")}
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return nil, &tunnel.Error{Reason: tunnel.ReasonRefused, Server: "server", Err: err}
	}
	c := &netConn{Conn: conn, buf: make([]byte, 32<<10)}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	return c, nil
}

// DialContext implements tunnel.Dialer.
func (n *network) DialContext(context.Context, netip.AddrPort, tunnel.Hold) (tunnel.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plain++
	return &netConn{plain: true}, nil
}

// OwnsAddress implements Outer.
func (n *network) OwnsAddress(netip.AddrPort) bool { return false }

// attempts returns how many dials of exits and of targets there were.
func (n *network) attempts() (exits, plain int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked, n.plain
}

// cut ends all connections to exits, as the agent's death does: cleanly.
func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Conn.Close()
	}
	n.conns = nil
}

// netConn makes a tunnel.Conn of a net.Conn. Its peer's end is always clean, as it is behind
// a proxy-server.
type netConn struct {
	net.Conn
	buf   []byte
	plain bool
}

// Receive implements tunnel.Conn.
func (c *netConn) Receive() ([]byte, error) {
	n, err := c.Read(c.buf)
	if err != nil {
		err = io.EOF
	}
	return c.buf[:n], err
}

// Send implements tunnel.Conn.
func (c *netConn) Send(p []byte) error {
	_, err := c.Write(p)
	return err
}

// Close implements tunnel.Conn.
func (c *netConn) Close() error {
	if c.plain {
		return nil
	}
	return c.Conn.Close()
}

// Server implements tunnel.Conn.
func (*netConn) Server() string { return "server" }

// IDs implements tunnel.Identified.
func (*netConn) IDs() tunnel.IDs { return tunnel.IDs{Dial: 7} }
