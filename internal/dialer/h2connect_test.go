// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// h2Proxy is a standard CONNECT proxy, with golang.org/x/net's HTTP/2. Every target is the
// same, except that of the probe.
type h2Proxy struct {
	*counted
	target string
	refuse atomic.Pointer[func(http.ResponseWriter)] // answers each dial; nil: it is served
}

// serveH2Proxy starts a proxy that requires client certificates, and allows streams on each
// connection.
func (p *pki) serveH2Proxy(t *testing.T, streams uint32) (*h2Proxy, tunnel.Server) {
	t.Helper()
	proxy := &h2Proxy{counted: &counted{Listener: listen(t), kept: make(chan net.Conn, 100)}, target: echoTarget(t)}
	server := &http.Server{Handler: proxy, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: p.serverConfig()}
	must(t, http2.ConfigureServer(server, &http2.Server{MaxConcurrentStreams: streams}))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.ServeTLS(proxy.counted, "", "") })
	t.Cleanup(func() {
		_ = server.Close()
		serving.Wait()
	})
	name := proxy.Addr().String()
	return proxy, tunnel.Server{Name: name, Network: tunnel.NetworkTCP, Address: name, Mode: tunnel.ModeH2Connect}
}

// ServeHTTP implements http.Handler.
func (p *h2Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect || r.Host == "127.0.0.1:1" {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if refuse := p.refuse.Load(); refuse != nil {
		(*refuse)(w)
		return
	}
	conn, err := net.Dial("tcp", p.target)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	defer conn.Close()
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(conn, r.Body)
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	buf := make([]byte, 32<<10)
	for n := 0; err == nil; {
		if n, err = conn.Read(buf); n > 0 {
			_, _ = w.Write(buf[:n])
			_ = http.NewResponseController(w).Flush()
		}
	}
	_ = r.Body.Close()
	up.Wait()
}

// echoTarget starts a target that returns what it gets, and returns its address.
func echoTarget(t *testing.T) string {
	t.Helper()
	l := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// wantEcho sends text and half-closes, and checks that all of it comes back.
func wantEcho(t *testing.T, conn tunnel.Conn, text string) {
	t.Helper()
	go func() {
		_ = conn.Send([]byte(text))
		_ = conn.(tunnel.Carrier).CloseWrite()
	}()
	var got strings.Builder
	for {
		p, err := conn.Receive()
		if err == io.EOF {
			break
		}
		must(t, err)
		got.Write(p)
	}
	if got.String() != text {
		t.Errorf("%d bytes came back, want %d", got.Len(), len(text))
	}
}

// TestH2Connect: connections through a standard proxy over TLS, with half-close. They share
// one connection to it.
func TestH2Connect(t *testing.T) {
	p := newPKI(t)
	proxy, server := p.serveH2Proxy(t, 100)
	d := newDialer(t, p.client(), hang, server)
	if mode, err := d.Identify(t.Context()); err != nil || mode != tunnel.ModeH2Connect {
		t.Errorf("its mode is %q (%v)", mode, err)
	}
	var conns []tunnel.Conn
	for i := range 10 {
		conn, err := d.dial(t)
		must(t, err)
		if traits := tunnel.TraitsOf(conn); !traits.Backpressure || !traits.HalfClose || !traits.Resets {
			t.Errorf("its traits are %+v", traits)
		}
		if conn.Server() != server.Name {
			t.Errorf("its server is %q", conn.Server())
		}
		wantEcho(t, conn, strings.Repeat("hello ", 10_000*i))
		conns = append(conns, conn)
	}
	if n := d.endpoint(t).load.Load(); n != 10 {
		t.Errorf("%d connections count, want 10", n)
	}
	for _, conn := range conns {
		must(t, conn.Close())
		must(t, conn.(tunnel.Carrier).Abort())
	}
	if n := proxy.made.Load(); n != 1 {
		t.Errorf("%d connections to the proxy, want 1", n)
	}
}

// TestH2ConnectRefusals: what an answer of a proxy means.
func TestH2ConnectRefusals(t *testing.T) {
	p := newPKI(t)
	proxy, server := p.serveH2Proxy(t, 100)
	d := newDialer(t, p.client(), hang, server)
	for _, tc := range []struct {
		status   int
		says     string
		reason   tunnel.Reason
		fault    tunnel.Fault
		contains string
	}{
		{502, `x; error=connection_refused; details="no one listens"`, tunnel.ReasonRefused, tunnel.FaultTarget, "no one listens"},
		{504, "x; error=connection_timeout", tunnel.ReasonTimeout, tunnel.FaultTarget, "connection_timeout"},
		{502, "x; error=dns_error", tunnel.ReasonUnreachable, tunnel.FaultTarget, "dns_error"},
		{503, "x; error=connection_limit_reached", tunnel.ReasonMaxConnections, tunnel.FaultServer, "connection_limit_reached"},
		{503, "", tunnel.ReasonUnreachable, tunnel.FaultTarget, "status 503"},
		{504, "", tunnel.ReasonTimeout, tunnel.FaultTarget, "status 504"},
		{500, "", tunnel.ReasonOther, tunnel.FaultServer, "status 500"},
		{429, "", tunnel.ReasonMaxConnections, tunnel.FaultServer, "status 429"},
		{405, "", tunnel.ReasonProtocol, tunnel.FaultRefusal, "no proxy that accepts CONNECT"},
		{403, "", tunnel.ReasonForbidden, tunnel.FaultTarget, "status 403"},
		{502, "x; error=destination_ip_prohibited", tunnel.ReasonForbidden, tunnel.FaultTarget, "destination_ip_prohibited"},
		{407, "", tunnel.ReasonForbidden, tunnel.FaultRefusal, "status 407"},
	} {
		refuse := func(w http.ResponseWriter) {
			if tc.says != "" {
				w.Header().Set("Proxy-Status", tc.says)
			}
			w.WriteHeader(tc.status)
			_, _ = io.WriteString(w, "a body")
		}
		proxy.refuse.Store(&refuse)
		_, err := d.attempt(t)
		if err == nil || err.Reason != tc.reason || err.Fault != tc.fault || !strings.Contains(err.Error(), tc.contains) {
			t.Errorf("%d %s: %+v, want %s, fault %d and %q", tc.status, tc.says, err, tc.reason, tc.fault, tc.contains)
		}
	}
	proxy.refuse.Store(nil)
	conn, err := d.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, conn, "it still works")
	must(t, conn.Close())
}

// TestH2ConnectFewStreams: a proxy that allows few streams gets as many connections as the
// dials need, and no more are kept than are of use.
func TestH2ConnectFewStreams(t *testing.T) {
	const streams, dials = 5, 23
	p := newPKI(t)
	proxy, server := p.serveH2Proxy(t, streams)
	d := newDialer(t, p.client(), hang, server)
	conns := make([]tunnel.Conn, dials)
	var dialing sync.WaitGroup
	for i := range conns {
		dialing.Go(func() {
			conn, err := d.attempt(t)
			if err != nil {
				t.Errorf("dial %d: %v", i, err)
				return
			}
			conns[i] = conn
			wantEcho(t, conn, "hello")
		})
	}
	dialing.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, conn := range conns {
		must(t, conn.Close())
	}
	waittest.Eventually(t, "few connections to be left", func() bool { return proxy.open.Load() <= 2 })
	conn, err := d.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, conn, "again")
	must(t, conn.Close())
}

// TestH2ConnectLoss: if the connection to the proxy is lost, connections end with an error,
// and the next dial makes another.
func TestH2ConnectLoss(t *testing.T) {
	p := newPKI(t)
	proxy, server := p.serveH2Proxy(t, 100)
	d := newDialer(t, p.client(), hang, server)
	conn, err := d.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	must(t, (<-proxy.counted.kept).Close())
	if _, err := conn.Receive(); !errors.Is(err, tunnel.ErrBroken) {
		t.Errorf("Receive: %v, want ErrBroken", err)
	}
	must(t, conn.Close())
	again, err := d.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	wantEcho(t, again, "again")
	must(t, again.Close())
}

// TestH2ConnectCertificates: after a change of the TLS files dials use another connection.
// Connections on the old one go on.
func TestH2ConnectCertificates(t *testing.T) {
	p := newPKI(t)
	proxy, server := p.serveH2Proxy(t, 100)
	d := newDialer(t, p.client(), hang, server)
	old, err := d.attempt(t)
	if err != nil {
		t.Fatal(err)
	}
	p.newClient(t)
	waittest.Eventually(t, "another connection", func() bool {
		conn, err := d.attempt(t)
		if err != nil {
			t.Fatal(err)
		}
		must(t, conn.Close())
		return proxy.made.Load() == 2
	})
	wantEcho(t, old, "still there")
	must(t, old.Close())
	waittest.Eventually(t, "the end of the old connection", func() bool { return proxy.open.Load() == 1 })
}

// TestH2ConnectWrongServer: a server that is no such proxy fails the check, so that the
// sidecar is not ready. A person has to change something.
func TestH2ConnectWrongServer(t *testing.T) {
	p := newPKI(t)
	web := func(protos ...string) tunnel.Server {
		l := tls.NewListener(listen(t), p.serverConfig(protos...))
		server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
		if len(protos) > 0 && protos[0] == serverconn.ALPNHTTP2 {
			must(t, http2.ConfigureServer(server, nil))
		}
		s := &httptest.Server{Listener: l, Config: server}
		s.Start()
		t.Cleanup(s.Close)
		name := l.Addr().String()
		return tunnel.Server{Name: name, Network: tunnel.NetworkTCP, Address: name}
	}
	for name, tc := range map[string]struct {
		server tunnel.Server
		words  string
	}{
		"a gRPC server":             {p.serveGRPC(t, tunnel.ModeH2Connect, echoing), "which --mode=h2-connect needs: is the port right? For a proxy-server of konnectivity use --mode=grpc, or auto"},
		"a web server":              {web(serverconn.ALPNHTTP2), "no proxy that accepts CONNECT"},
		"a server of HTTP/1.1":      {web(serverconn.ALPNHTTP1), "does not speak HTTP/2"},
		"a server that has no ALPN": {web(), "does not speak HTTP/2"},
	} {
		t.Run(name, func(t *testing.T) {
			tc.server.Mode = tunnel.ModeH2Connect
			d := newDialer(t, p.client(), hang, tc.server)
			err := d.endpoint(t).Check(t.Context())
			if err == nil || !err.Fault.Lasting() || err.Reason != tunnel.ReasonProtocol || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("the check says %+v, want %q", err, tc.words)
			}
		})
	}
}
