// SPDX-License-Identifier: Apache-2.0

package relay_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/defaults"
	"github.com/shoot-proxy/proxy-client/internal/exitpolicy"
	"github.com/shoot-proxy/proxy-client/internal/exitserver"
	"github.com/shoot-proxy/proxy-client/internal/h2connect"
	"github.com/shoot-proxy/proxy-client/internal/http2wire"
	"github.com/shoot-proxy/proxy-client/internal/quota"
	"github.com/shoot-proxy/proxy-client/internal/relay"
	"github.com/shoot-proxy/proxy-client/internal/waittest"
)

// policyOfTests lets the client "app" reach everything on loopback.
const policyOfTests = `
apiVersion: config.shoot-proxy.io/v1alpha1
kind: ExitPolicy
rules:
- clients: [{commonName: app}]
  cidrs: [127.0.0.0/8]
`

// startExit starts an exit, and returns a connection to it.
func startExit(t *testing.T, held *quota.Quota) *h2connect.Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ca := certtest.NewCA(t, "test CA")
	server := ca.Issue(t, x509.Certificate{DNSNames: []string{"exit.test"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	client := ca.Issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	certificates := &exitserver.Certificates{Server: server.TLS(), Clients: ca.Pool(), Version: 1}
	policy, err := exitpolicy.Parse([]byte(policyOfTests))
	must(t, err)
	exit := exitserver.New(exitserver.Config{
		Listener: l, Certificates: func() (*exitserver.Certificates, error) { return certificates, nil },
		Policy: func() *exitpolicy.Policy { return policy }, Resolver: net.DefaultResolver,
		OwnPorts:    []uint16{netip.MustParseAddrPort(l.Addr().String()).Port()},
		DialTimeout: hangTimeout, HandshakeTimeout: hangTimeout, DrainTimeout: hangTimeout,
		Limits: exitserver.Limits{Connections: 64, Streams: 1 << 14, ClientConnections: 32, ClientStreams: 1 << 14, Buffer: 64 << 20},
		Logger: slog.New(slog.DiscardHandler), Metrics: exitserver.NewMetrics(prometheus.NewRegistry()),
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := exit.Run(ctx); err != nil {
			t.Errorf("the exit: %v", err)
		}
	})
	tcp, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	socket := http2wire.NewSocket(tcp)
	below := &replaceable{tcp}
	secured := tls.Client(below, &tls.Config{RootCAs: ca.Pool(), ServerName: "exit.test", NextProtos: []string{"h2"}, Certificates: []tls.Certificate{client.TLS()}})
	must(t, secured.HandshakeContext(t.Context()))
	below.Conn = socket
	conn := h2connect.New(secured, socket, h2connect.Config{Quota: held})
	running.Go(conn.Run)
	t.Cleanup(func() {
		_ = conn.Close()
		exit.Abort()
		cancel()
		running.Wait()
	})
	must(t, conn.Ready(t.Context()))
	return conn
}

// replaceable is the connection below TLS, which is replaced after the handshake.
type replaceable struct{ net.Conn }

// openThroughExit returns a way with a relay, and a stream to an exit behind it.
func openThroughExit(t *testing.T, exit *h2connect.Conn, held *quota.Quota) *way {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	w := &way{result: make(chan relay.Result, 1)}
	w.app, w.side = tcpPair(t)
	stream, err := exit.Dial(t.Context(), l.Addr().String())
	must(t, err)
	target, err := l.Accept()
	must(t, err)
	w.target = small(t, target)
	w.limit(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		select {
		case r := <-w.result:
			w.result <- r
		case <-time.After(hangTimeout):
			t.Error("the relay does not end")
		}
	})
	w.monitor = relay.Start(ctx, w.side, stream, relay.Hurried(relay.Options{
		HalfCloseTimeout: hangTimeout, Buffers: relay.NewBuffers(defaults.ConnectionBuffer, held), Pacer: new(relay.Pacer),
		AppState: func() relay.AppState { return relay.AppUnknown },
	}), func(r relay.Result) { w.result <- r })
	return w
}

// TestLikeADirectConnectionThroughAnExit: app and target see the same through an exit as on
// a connection without anything in between. Nothing is held in the end.
func TestLikeADirectConnectionThroughAnExit(t *testing.T) {
	held := quota.New(defaults.TotalBuffer)
	exit := startExit(t, held)
	t.Run("cases", func(t *testing.T) {
		for _, tc := range likeDirect {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				seen := func(w *way) string {
					s := &sight{t: t}
					tc.run(s, w.app, w.target)
					return strings.Join(s.lines, "\n")
				}
				direct := seen(openDirect(t))
				w := openThroughExit(t, exit, held)
				if diff := cmp.Diff(direct, seen(w)); diff != "" {
					t.Errorf("what app and target see (-direct +through the exit):\n%s", diff)
				}
				if r := w.ended(t); tc.reason != "" && r.Reason != tc.reason {
					t.Errorf("the reason is %s (%v), want %s", r.Reason, r.Err, tc.reason)
				}
			})
		}
	})
	if n := held.Held(); n != 0 {
		t.Errorf("%d bytes are held after the end", n)
	}
	if n := exit.Streams(); n != 0 {
		t.Errorf("%d streams are open after the end", n)
	}
}

// TestHeldByAnExitsStream: what an app does not take waits in its stream, within a window,
// and is shown as held for its connection. Nothing else is.
func TestHeldByAnExitsStream(t *testing.T) {
	held := quota.New(defaults.TotalBuffer)
	exit := startExit(t, held)
	w, other := openThroughExit(t, exit, held), openThroughExit(t, exit, held)
	done := writes(w.target, much, func() { _ = w.target.CloseWrite() })
	// On a machine that stands still, a target may seem to be stopped before it is.
	waittest.Eventually(t, "a window to be held", func() bool { return w.monitor.Progress(time.Now()).Held >= 128<<10 })
	stalls(t, w.target, done)
	shown := w.monitor.Progress(time.Now()).Held
	if shown < 128<<10 || shown > 512<<10 {
		t.Errorf("%d bytes are shown as held, want about a window", shown)
	}
	if counted := held.Held(); counted < shown || counted > 2*shown {
		t.Errorf("%d bytes count, and %d are shown", counted, shown)
	}
	(&sight{t: t}).send(other.target, other.app, "another connection")
	if n := other.monitor.Progress(time.Now()).Held; n != 0 {
		t.Errorf("%d bytes are shown as held for another connection", n)
	}
	if _, err := io.Copy(io.Discard, w.app); err != nil {
		t.Errorf("the app got %v", err)
	}
	must(t, <-done)
	if n := w.monitor.Progress(time.Now()).Held; n != 0 {
		t.Errorf("%d bytes are shown as held in the end", n)
	}
}
