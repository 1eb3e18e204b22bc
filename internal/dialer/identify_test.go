// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// service is a gRPC service without a method.
func service(name string) *grpc.ServiceDesc {
	return &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil)}
}

// serveAny starts a gRPC server with the services that the caller gives.
func (p *pki) serveAny(t *testing.T, mode tunnel.Mode, register func(*grpc.Server), opts ...grpc.ServerOption) tunnel.Server {
	t.Helper()
	l := listen(t)
	srv := grpc.NewServer(append(opts, grpc.Creds(credentials.NewTLS(p.serverConfig())))...)
	register(srv)
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		srv.Stop()
		serving.Wait()
	})
	return tcpServer(l, mode)
}

func tcpServer(l net.Listener, mode tunnel.Mode) tunnel.Server {
	return tunnel.Server{Name: l.Addr().String(), Network: "tcp", Address: l.Addr().String(), Mode: mode}
}

// servePlain starts a server without TLS that sends something on each connection at
// once, and more when it has read something.
func servePlain(t *testing.T, first, then string) tunnel.Server {
	t.Helper()
	l := listen(t)
	var serving sync.WaitGroup
	serving.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			serving.Go(func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, first)
				_, _ = conn.Read(make([]byte, 4096))
				_, _ = io.WriteString(conn, then)
				_, _ = io.Copy(io.Discard, conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return tcpServer(l, tunnel.ModeAuto)
}

// serveHTTP starts a web server over TLS, with HTTP/2 or without.
func (p *pki) serveHTTP(t *testing.T, mode tunnel.Mode, proto string, status int) tunnel.Server {
	t.Helper()
	l := listen(t)
	srv := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }),
		TLSConfig: p.serverConfig(proto),
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.ServeTLS(l, "", "") })
	t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
	})
	return tcpServer(l, mode)
}

// TestAnotherServer: a check finds out that a server is not a proxy-server, and what it
// is. Dials fail at once, although their budget is long, and the server is not up.
func TestAnotherServer(t *testing.T) {
	p := newPKI(t)
	agents := func(s *grpc.Server) { s.RegisterService(service("AgentService"), struct{}{}) }
	var dials atomic.Int64
	connect := p.serveConnect(t, tunnel.ModeHTTPConnect, write(establishedLine))
	settings := h2Frame(h2Settings, 0, 0, "\x00\x05\x00\x00\x40\x00")
	for _, tc := range []struct {
		name   string
		server tunnel.Server
		words  []string
	}{
		{"the agents' port", p.serveAny(t, tunnel.ModeAuto, agents), []string{"agents' port", "8090"}},
		{"the agents' port, gRPC", p.serveAny(t, tunnel.ModeGRPC, agents), []string{"agents' port"}},
		{"the agents' port, CONNECT", p.serveAny(t, tunnel.ModeHTTPConnect, agents), []string{"agents' port"}},
		{"another gRPC server", p.serveAny(t, tunnel.ModeAuto, func(*grpc.Server) {}), []string{"gRPC server", "8090"}},
		{"CONNECT to a gRPC server", p.serveGRPC(t, tunnel.ModeHTTPConnect, answerWith("", &dials)), []string{"gRPC server", "--mode=grpc"}},
		{"gRPC to a CONNECT server", tunnel.Server{Name: connect.Name, Network: "tcp", Address: connect.Address, Mode: tunnel.ModeGRPC}, []string{"--mode=http-connect"}},
		{"gRPC to a CONNECT server, ALPN left out", p.serveHTTPWithoutALPN(t, tunnel.ModeGRPC), []string{"HTTP/1", "--mode=http-connect"}},
		{"a web server, HTTP/2", p.serveHTTP(t, tunnel.ModeAuto, serverconn.ALPNHTTP2, 403), []string{"403", "8090"}},
		{"no such page, HTTP/2", p.serveHTTP(t, tunnel.ModeAuto, serverconn.ALPNHTTP2, 404), []string{"404", "8090"}},
		{"plain HTTP", servePlain(t, "", "HTTP/1.0 400 Bad Request\r\n\r\n"), []string{"plain HTTP", "8090"}},
		{"plain HTTP/2", servePlain(t, settings, ""), []string{"HTTP/2 without TLS"}},
		{"SSH", servePlain(t, "SSH-2.0-OpenSSH_9.9\r\n", ""), []string{"does not speak TLS", "SSH-2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			d := newDialer(t, p.client(), 10*hang, tc.server)
			conn, err := d.dial(t) // it ends long before its budget
			if err == nil {
				_ = conn.Close()
				t.Fatal("the dial succeeded")
			}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = d.Run(ctx) })
			defer running.Wait()
			defer cancel()
			waittest.Eventually(t, "that Run has looked", func() bool {
				return strings.Contains(d.Unreachable().Error(), tc.words[0])
			})
			if tunnel.ReasonOf(err) != tunnel.ReasonProtocol {
				t.Errorf("the dial ended with %s: %v; want %s", tunnel.ReasonOf(err), err, tunnel.ReasonProtocol)
			}
			for _, word := range append(tc.words, tc.server.Name) {
				if !strings.Contains(err.Error(), word) || !strings.Contains(d.Unreachable().Error(), word) {
					t.Errorf("the dial ended with %v, and %v; want both to say %q", err, d.Unreachable(), word)
				}
			}
			if up := testutil.ToFloat64(d.metrics.serverUp.WithLabelValues(tc.server.Name)); up != 0 {
				t.Errorf("server_up is %v, want 0", up)
			}
		})
	}
}

// serveHTTPWithoutALPN starts an HTTP/1.1 server that chooses no protocol.
func (p *pki) serveHTTPWithoutALPN(t *testing.T, mode tunnel.Mode) tunnel.Server {
	t.Helper()
	l := listen(t)
	srv := &http.Server{Handler: http.NotFoundHandler()}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(tls.NewListener(l, p.serverConfig())) })
	t.Cleanup(func() {
		_ = srv.Close()
		serving.Wait()
	})
	return tcpServer(l, mode)
}

// TestIdentityIsNoProof: a proxy in between may answer methods that it does not know by
// itself. The server behind it still counts as a proxy-server.
func TestIdentityIsNoProof(t *testing.T) {
	p := newPKI(t)
	var dials atomic.Int64
	for name, answer := range map[string]error{
		"forbidden": status.Error(codes.PermissionDenied, "RBAC: access denied"),
		"unknown":   status.Error(codes.Unimplemented, ""),
		"away":      status.Error(codes.Unavailable, "no healthy upstream"),
		"done":      nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := answerWith("", &dials)
			proxied := func(_ any, s grpc.ServerStream) error {
				if method, _ := grpc.MethodFromServerStream(s); method != "/ProxyService/Proxy" {
					return answer
				}
				return script(&grpc.GenericServerStream[client.Packet, client.Packet]{ServerStream: s})
			}
			d := newDialer(t, p.client(), hang, p.serveAny(t, tunnel.ModeAuto, func(*grpc.Server) {}, grpc.UnknownServiceHandler(proxied)))
			d.connect(t)
			if !d.endpoint(t).up.Load() {
				t.Error("the server is not up")
			}
			conn, err := d.dial(t)
			must(t, err)
			_ = conn.Close()
		})
	}
}

// TestALPNLeftOut: a device in between ends TLS and chooses no protocol. The first
// bytes of the server tell the mode, in checks and in dials.
func TestALPNLeftOut(t *testing.T) {
	for _, mode := range []tunnel.Mode{tunnel.ModeGRPC, tunnel.ModeHTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			p := newPKI(t)
			var dials atomic.Int64
			l := tls.NewListener(listen(t), p.serverConfig())
			if mode == tunnel.ModeGRPC {
				serveScript(t, l, tunnel.ModeAuto, answerWith("", &dials))
			} else {
				srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					conn, _, err := http.NewResponseController(w).Hijack()
					if err == nil {
						_, _ = io.WriteString(conn, establishedLine)
						_ = conn.Close()
					}
				})}
				var serving sync.WaitGroup
				serving.Go(func() { _ = srv.Serve(l) })
				t.Cleanup(func() { _ = srv.Close(); serving.Wait() })
			}
			d := newDialer(t, p.client(), hang, tcpServer(l, tunnel.ModeAuto))
			for range 2 {
				conn, err := d.dial(t)
				must(t, err)
				_ = conn.Close()
				if got := d.servers[0].speaks(); got != mode {
					t.Errorf("mode %s was found out, want %s", got, mode)
				}
			}
		})
	}
}

// TestTargetSpeaksHTTP2First: SETTINGS of a target, ahead of the server's answer, do
// not count as the server's.
func TestTargetSpeaksHTTP2First(t *testing.T) {
	settings := h2Frame(h2Settings, 0, 0, "\x00\x05\x00\x00\x40\x00")
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, p.serveConnect(t, tunnel.ModeHTTPConnect, func(c *tls.Conn) {
		_, _ = io.WriteString(c, settings)
		_, _ = io.WriteString(c, establishedLine+"and more")
		_ = c.CloseWrite()
	}))
	conn, err := d.dial(t)
	must(t, err)
	defer conn.Close()
	if got, err := receiveAll(conn); string(got) != settings+"and more" || err != io.EOF {
		t.Errorf("received %q, then %v; want all that the target said, then EOF", got, err)
	}
}
