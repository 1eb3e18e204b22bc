// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"
	"sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"

	"github.com/shoot-proxy/proxy-client/internal/konnectivity/grpcmode/packettest"
	"github.com/shoot-proxy/proxy-client/internal/options"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// answerWith returns a server whose agent answers every dial with text.
func answerWith(text string, dials *atomic.Int64) script {
	return func(s client.ProxyService_ProxyServer) error {
		pkt, err := s.Recv()
		if err != nil {
			return err
		}
		dials.Add(1)
		if err := s.Send(packettest.DialRsp(pkt.GetDialRequest().GetRandom(), connID, text)); err != nil {
			return err
		}
		return linger(s)
	}
}

// TestFailover: another server is asked only if nothing reached the target.
func TestFailover(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer string
		want   tunnel.Reason // empty: the second server succeeds
	}{
		{"refused by the target is final", "connect: connection refused", tunnel.ReasonRefused},
		{"target timeout is final", "i/o timeout", tunnel.ReasonTimeout},
		{"no route is final", "no route to host", tunnel.ReasonUnreachable},
		{"no agent", "No agent available", ""},
		{"agent lost on the way", "timed out waiting for backend dial", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			var first, second atomic.Int64
			d := newDialer(t, p.client(), hang,
				p.serveGRPC(t, tunnel.ModeGRPC, answerWith(tc.answer, &first)),
				p.serveGRPC(t, tunnel.ModeGRPC, answerWith("", &second)))
			conn, err := d.dial(t)
			if first.Load() != 1 {
				t.Errorf("the first server was asked %d times, want once", first.Load())
			}
			if tc.want == "" {
				must(t, err)
				defer conn.Close()
				if conn.Server() != d.servers[1].Name {
					t.Errorf("connected through %s, want the second server", conn.Server())
				}
				if n := testutil.ToFloat64(d.metrics.failovers); n != 1 {
					t.Errorf("failovers_total is %v, want 1", n)
				}
				return
			}
			if got := tunnel.ReasonOf(err); got != tc.want || second.Load() != 0 {
				t.Errorf("reason %s after %d dials through the second server, want %s after none", got, second.Load(), tc.want)
			}
		})
	}
}

// TestCancelledAfterAFailover: if the app gave up, that is the error, whatever had
// failed before.
func TestCancelledAfterAFailover(t *testing.T) {
	p := newPKI(t)
	var dials atomic.Int64
	ctx, giveUp := context.WithCancel(t.Context())
	defer giveUp()
	d := newDialer(t, p.client(), hang,
		p.serveGRPC(t, tunnel.ModeGRPC, answerWith("No agent available", &dials)),
		p.serveGRPC(t, tunnel.ModeGRPC, func(s client.ProxyService_ProxyServer) error {
			if _, err := s.Recv(); err != nil {
				return err
			}
			giveUp()
			return linger(s)
		}))
	if _, err := d.DialContext(ctx, target, nil); tunnel.ReasonOf(err) != tunnel.ReasonCancelled || dials.Load() != 1 {
		t.Errorf("reason %s (%v) after %d dials through the first server, want cancelled after one", tunnel.ReasonOf(err), err, dials.Load())
	}
}

// TestAgentComesBack: a dial waits for an agent within its budget.
func TestAgentComesBack(t *testing.T) {
	p := newPKI(t)
	var dials atomic.Int64
	d := newDialer(t, p.client(), hang, p.serveGRPC(t, tunnel.ModeGRPC, func(s client.ProxyService_ProxyServer) error {
		if dials.Load() < 2 {
			return answerWith("No agent available", &dials)(s)
		}
		return answerWith("", &dials)(s)
	}))
	conn, err := d.dial(t)
	must(t, err)
	_ = conn.Close()
	if dials.Load() != 3 {
		t.Errorf("%d dials until the agent was there, want 3", dials.Load())
	}
}

// TestModeAuto: ALPN decides, for each server by itself.
func TestModeAuto(t *testing.T) {
	p := newPKI(t)
	var dials atomic.Int64
	for name, server := range map[tunnel.Mode]tunnel.Server{
		tunnel.ModeGRPC:        p.serveGRPC(t, tunnel.ModeAuto, answerWith("", &dials)),
		tunnel.ModeHTTPConnect: p.serveConnect(t, tunnel.ModeAuto, write(establishedLine, "hello")),
	} {
		t.Run(string(name), func(t *testing.T) {
			d := newDialer(t, p.client(), hang, server)
			for range 2 {
				conn, err := d.dial(t)
				must(t, err)
				_ = conn.Close()
			}
			if got := d.servers[0].mode.Load(); got != name {
				t.Errorf("mode %v was found out, want %s", got, name)
			}
		})
	}
}

// TestUnixSocket: gRPC over a Unix socket is plaintext.
func TestUnixSocket(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", name)
	must(t, err)
	srv := grpc.NewServer()
	var dials atomic.Int64
	client.RegisterProxyServiceServer(srv, scripted{script: answerWith("", &dials)})
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: "unix://" + name, Network: "unix", Address: name, Mode: tunnel.ModeGRPC})
	conn, err := d.dial(t)
	must(t, err)
	_ = conn.Close()
}

// TestServerFailures: the reason and the text of an error say what is wrong with a
// server, and what to do.
func TestServerFailures(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	var dials atomic.Int64
	grpcServer := p.serveGRPC(t, tunnel.ModeGRPC, answerWith("", &dials))
	connectServer := p.serveConnect(t, tunnel.ModeHTTPConnect, write(establishedLine))
	closed := listen(t)
	_ = closed.Close()
	unreachable := tunnel.Server{Name: "gone", Network: "tcp", Address: closed.Addr().String()}

	with := func(s tunnel.Server, m tunnel.Mode) tunnel.Server { s.Mode = m; return s }
	named := func(name string) tunnel.TLS { f := p.client(); f.ServerName = name; return f }
	anonymous := tunnel.TLS{CAFile: p.file("ca.crt")}
	foreign := other.client()
	foreign.CAFile = p.file("ca.crt")
	wrongCA := p.client()
	wrongCA.CAFile = other.file("ca.crt")

	for _, tc := range []struct {
		name   string
		server tunnel.Server
		files  tunnel.TLS
		want   tunnel.Reason
		words  string
	}{
		{"nobody listens, gRPC", with(unreachable, tunnel.ModeGRPC), p.client(), tunnel.ReasonServerUnreachable, "connection refused"},
		{"nobody listens, CONNECT", with(unreachable, tunnel.ModeHTTPConnect), p.client(), tunnel.ReasonServerUnreachable, "connection refused"},
		{"nobody listens, auto", with(unreachable, tunnel.ModeAuto), p.client(), tunnel.ReasonServerUnreachable, "connection refused"},
		{"other CA, gRPC", grpcServer, wrongCA, tunnel.ReasonTLS, "not signed by --ca-cert=/"},
		{"other CA, CONNECT", connectServer, wrongCA, tunnel.ReasonTLS, "not signed by --ca-cert=/"},
		{"other name, gRPC", grpcServer, named("elsewhere"), tunnel.ReasonTLS, "its certificate is not for --server-name=elsewhere: write a name in it"},
		{"other name, CONNECT", connectServer, named("elsewhere"), tunnel.ReasonTLS, "its certificate is not for --server-name=elsewhere: write a name in it"},
		{"no client certificate, gRPC", grpcServer, anonymous, tunnel.ReasonTLS, "no client certificate was given: give --client-cert and --client-key"},
		{"no client certificate, CONNECT", connectServer, anonymous, tunnel.ReasonTLS, "no client certificate was given: give --client-cert and --client-key"},
		{"foreign client certificate, gRPC", grpcServer, foreign, tunnel.ReasonTLS, "is not signed by a CA that it has for clients: have it issued by one"},
		{"foreign client certificate, CONNECT", connectServer, foreign, tunnel.ReasonTLS, "is not signed by a CA that it has for clients: have it issued by one"},
		{"CONNECT to a gRPC server", with(grpcServer, tunnel.ModeHTTPConnect), p.client(), tunnel.ReasonProtocol, "--mode=grpc"},
		{"gRPC to a CONNECT server", with(connectServer, tunnel.ModeGRPC), p.client(), tunnel.ReasonProtocol, "--mode=http-connect"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDialer(t, tc.files, hang, tc.server)
			conn, err := d.attempt(t)
			if err == nil {
				_ = conn.Close()
				t.Fatal("the dial succeeded")
			}
			if got := tunnel.ReasonOf(err); got != tc.want || !strings.Contains(err.Error(), tc.words) {
				t.Errorf("got reason %s: %v; want %s and the words %q", got, err, tc.want, tc.words)
			}
		})
	}
}

// TestServerInsideShoot: a connection to a server inside the shoot would have to go
// through itself. The error advises to exclude the server only if that leaves some of
// the shoot.
func TestServerInsideShoot(t *testing.T) {
	d := newDialer(t, tunnel.TLS{}, hang, tunnel.Server{Name: "proxy:8090", Network: "tcp", Address: "100.64.0.9:8090", Mode: tunnel.ModeGRPC})
	err := d.lookUpAll(t.Context())
	if _, ok := errors.AsType[*InsideShootError](err); !ok || !strings.Contains(err.Error(), `--proxy-server "proxy:8090"`) {
		t.Errorf("the lookup: %v, want an InsideShootError that names flag and value", err)
	}
	for alone, want := range map[bool]bool{false: true, true: false} {
		advised := strings.Contains((&InsideShootError{Alone: alone, names: options.SettingNames()}).Error(), "--exclude-cidr")
		if advised != want {
			t.Errorf("an address that is all of the shoot (%t): to exclude it is an advice: %t", alone, advised)
		}
	}
}

// TestReachable follows a server that comes and goes, in both modes.
func TestReachable(t *testing.T) {
	p := newPKI(t)
	for _, mode := range []tunnel.Mode{tunnel.ModeGRPC, tunnel.ModeHTTPConnect} {
		t.Run(string(mode), func(t *testing.T) {
			var dials atomic.Int64
			var server tunnel.Server
			if mode == tunnel.ModeGRPC {
				server = p.serveGRPC(t, tunnel.ModeAuto, answerWith("", &dials))
			} else {
				server = p.serveConnect(t, tunnel.ModeAuto, func(*tls.Conn) {})
			}
			d := newDialer(t, p.client(), hang, server)
			if d.Reachable() {
				t.Error("reachable before anybody looked")
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- d.Run(ctx) }()
			waittest.Eventually(t, "Reachable", d.Reachable)
			if !d.OwnsAddress(mustAddrPort(server.Address)) || d.OwnsAddress(target) {
				t.Error("OwnsAddress does not know the server's address, or claims the target's")
			}
			cancel()
			must(t, waittest.Await(t, done, "the end of Run"))
			if d.Reachable() {
				t.Error("still reachable after Run has ended")
			}
		})
	}
}
