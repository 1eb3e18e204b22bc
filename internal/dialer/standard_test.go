// SPDX-License-Identifier: Apache-2.0

package dialer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// The real proxies prove what works (test/e2e). These scripted ones prove what the dialer
// makes of answers that they do not give on demand.

// Answers to the greeting.
const (
	nameless   = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" // of konnectivity, and of proxies in Go
	fromEnvoy  = "HTTP/1.1 404 Not Found\r\nserver: envoy\r\ncontent-length: 0\r\n\r\n"
	fromApache = "HTTP/1.1 200 OK\r\nServer: Apache/2.4\r\nContent-Length: 0\r\n\r\n"
	refusal    = "HTTP/1.1 503 Service Unavailable\r\nserver: envoy\r\ncontent-length: 27\r\n\r\ndelayed connect error: 111\n"
)

// standard is a scripted server. Its answers may change.
type standard struct {
	greeting, connect atomic.Value // strings; an empty one is no answer
	connects          atomic.Int64 // CONNECTs to another target than the probe's
	bare              bool         // it ends with FIN alone
	alpn              []string
}

// serve starts s with TLS. It keeps a connection open behind an answer that has a length.
func (s *standard) serve(t *testing.T, p *pki, mode tunnel.Mode) tunnel.Server {
	t.Helper()
	l := listen(t)
	over, end := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	config := p.serverConfig(s.alpn...)
	p.kill = func() { _ = l.Close() }
	serving.Go(func() {
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			serving.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(over, func() { _ = conn.Close() })()
				c := tls.Server(conn, config)
				request := readRequest(c)
				answer := s.connect.Load().(string)
				switch {
				case request == "":
					return
				case request == greeting:
					answer = s.greeting.Load().(string)
				case !strings.HasPrefix(request, "CONNECT 127.0.0.1:1 "):
					s.connects.Add(1)
				}
				_, _ = io.WriteString(c, answer)
				if strings.HasPrefix(answer, "HTTP/1") && strings.Contains(answer, " 200 ") && request != greeting {
					_, _ = io.WriteString(c, "hello")
					if !s.bare {
						_ = c.CloseWrite()
					}
					return
				}
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	t.Cleanup(func() {
		end()
		_ = l.Close()
		serving.Wait()
	})
	return tcpServer(l, mode)
}

func newStandard(greeting, connect string) *standard {
	s := &standard{}
	s.greeting.Store(greeting)
	s.connect.Store(connect)
	return s
}

// TestKindsOfServers: what a server is shows in its answer to the greeting, and then in its
// answers to CONNECT, of which a check may send one. If it is not certain, it counts as konnectivity. A mode that a person
// has set stays.
func TestKindsOfServers(t *testing.T) {
	const (
		auto, explicit      = tunnel.ModeAuto, tunnel.ModeHTTPSProxy
		konnectivity, proxy = tunnel.ModeHTTPConnect, tunnel.ModeHTTPSProxy
		ok                  = "HTTP/1.1 200 OK\r\nserver: x\r\n\r\n"
		old                 = "HTTP/1.0 200 Connection Established\r\nProxy-agent: Apache/2.4\r\n\r\n"
	)
	flows := tunnel.Traits{Backpressure: true}
	for _, tc := range []struct {
		name              string
		greeting, connect string
		configured, first tunnel.Mode
		traits            tunnel.Traits // of the first connection
		then              tunnel.Mode   // after it
		later             tunnel.Traits // of the next one
	}{
		{"konnectivity", nameless, establishedLine, auto, konnectivity, tunnel.Traits{}, konnectivity, tunnel.Traits{}},
		{"Envoy", fromEnvoy, ok, auto, proxy, flows, proxy, flows},
		{"squid", "HTTP/1.1 501 Not Implemented\r\nServer: squid/5.7\r\nContent-Length: 9999\r\n\r\nx", "HTTP/1.1 200 Connection established\r\n\r\n", auto, proxy, flows, proxy, flows},
		{"Apache", fromApache, old, auto, proxy, tunnel.Traits{Backpressure: true, HalfClose: true}, proxy, tunnel.Traits{Backpressure: true, HalfClose: true}},
		{"a proxy without a name", nameless, ok, auto, konnectivity, tunnel.Traits{}, proxy, flows},
		{"a proxy without a name, any 2xx", nameless, "HTTP/1.1 204 Fine\r\n\r\n", auto, konnectivity, tunnel.Traits{}, konnectivity, tunnel.Traits{}},
		{"konnectivity behind what gives a name", fromEnvoy, establishedLine, auto, konnectivity, tunnel.Traits{}, konnectivity, tunnel.Traits{}},
		{"konnectivity is asked for", fromApache, old, konnectivity, konnectivity, tunnel.Traits{}, konnectivity, tunnel.Traits{}},
		{"a proxy is asked for", nameless, establishedLine, explicit, proxy, flows, proxy, flows},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			s := newStandard(tc.greeting, tc.connect)
			if strings.Contains(tc.connect, " 204 ") { // the script says hello behind a 200 only
				tc.then, tc.later = proxy, flows
			}
			d := newDialer(t, p.client(), hang, s.serve(t, p, tc.configured))
			e := d.endpoint(t)
			check := func() {
				t.Helper()
				if err := e.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			check()
			if got := e.mode(); got != tc.first {
				t.Errorf("the check shows %s, want %s", got, tc.first)
			}
			for i, want := range []tunnel.Traits{tc.traits, tc.later} {
				conn, err := d.dial(t)
				must(t, err)
				if got := tunnel.TraitsOf(conn); got != want {
					t.Errorf("connection %d: %+v, want %+v", i, got, want)
				}
				if strings.Contains(tc.connect, " 200 ") {
					if got, err := receiveAll(conn); got != "hello" || !errors.Is(err, io.EOF) {
						t.Errorf("connection %d: received %q and %v, want what the target said alone, and its end", i, got, err)
					}
				}
				_ = conn.Close()
				check() // a greeting does not outweigh an answer to CONNECT
				if got := e.mode(); got != tc.then {
					t.Errorf("after connection %d the mode is %s, want %s", i, got, tc.then)
				}
			}
		})
	}
}

// TestARefusalShowsAProxy: so does an answer other than 2xx, which ends at its length
// although the connection stays open.
func TestARefusalShowsAProxy(t *testing.T) {
	p := newPKI(t)
	d := newDialer(t, p.client(), hang, newStandard(nameless, refusal).serve(t, p, tunnel.ModeAuto))
	for _, want := range []string{"dial refused", "the proxy refused the dial"} {
		if conn, err := d.attempt(t); err == nil {
			_ = conn.Close()
			t.Error("the dial succeeded")
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("the dial ended with %v, want %q", err, want)
		}
	}
	if got := d.endpoint(t).mode(); got != tunnel.ModeHTTPSProxy {
		t.Errorf("the mode is %s", got)
	}
}

// TestAServerThatAcceptsNoCONNECT: it is not up, whatever it answers to the greeting. A
// proxy that answers a CONNECT in any way is. The server is asked until it accepts CONNECT,
// and not again.
func TestAServerThatAcceptsNoCONNECT(t *testing.T) {
	for status, up := range map[string]bool{
		"405 Method Not Allowed": false, "404 Not Found": false, "501 Not Implemented": false, "400 Bad Request": false, "407 Proxy Authentication Required": false,
		"403 Forbidden": true, "502 Bad Gateway": true, "503 Service Unavailable": true, "504 Gateway Timeout": true,
	} {
		t.Run(status, func(t *testing.T) {
			t.Parallel()
			p := newPKI(t)
			s := newStandard(fromApache, "HTTP/1.1 "+status+"\r\nContent-Length: 0\r\n\r\n")
			d := newDialer(t, p.client(), hang, s.serve(t, p, tunnel.ModeAuto))
			e := d.endpoint(t)
			err := e.Check(t.Context())
			if (err == nil) != up || e.up.Load() != up {
				t.Fatalf("the check ended with %v, want it to succeed: %t", err, up)
			}
			if err != nil && (err.Reason != tunnel.ReasonProtocol && err.Reason != tunnel.ReasonForbidden || !err.Fault.Lasting() || err.Next == "") {
				t.Errorf("the check ended with %s, fault %d: %v; next %q", err.Reason, err.Fault, err, err.Next)
			}
			s.connect.Store("HTTP/1.1 200 OK\r\nserver: x\r\n\r\n")
			if !up {
				time.Sleep(checkPause) // so long a failed check holds
			}
			must(t, asError(e.Check(t.Context())))
			// A dial may show that a server accepts CONNECT no longer.
			s.connect.Store("HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
			if _, err := d.attempt(t); err == nil || err.Reason != tunnel.ReasonProtocol {
				t.Errorf("the dial ended with %v", err)
			}
			if err := e.Check(t.Context()); err == nil {
				t.Error("a server that refuses CONNECT passes a check")
			}
		})
	}
}

// asError returns nil for a nil *tunnel.Error.
func asError(err *tunnel.Error) error {
	if err == nil {
		return nil
	}
	return err
}

// TestHTTP2IsNotYetKonnectivity: a standard proxy may choose HTTP/2 by ALPN. Its answer to
// the method of dials shows that it is no proxy-server, and it is used over HTTP/1.1. A web
// server is not, and the error names the mode.
func TestHTTP2IsNotYetKonnectivity(t *testing.T) {
	p := newPKI(t)
	serve := func(connect http.HandlerFunc) tunnel.Server {
		l := listen(t)
		srv := &http.Server{TLSConfig: p.serverConfig(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodConnect {
				connect(w, r)
				return
			}
			http.NotFound(w, r)
		})}
		var serving sync.WaitGroup
		serving.Go(func() { _ = srv.ServeTLS(l, "", "") })
		t.Cleanup(func() { _ = srv.Close(); serving.Wait() })
		return tcpServer(l, tunnel.ModeAuto)
	}
	t.Run("a proxy", func(t *testing.T) {
		d := newDialer(t, p.client(), hang, serve(func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nvia: x\r\n\r\nhello")
				_ = conn.Close()
			}
		}))
		for range 2 {
			conn, err := d.dial(t)
			must(t, err)
			if got, err := receiveAll(conn); got != "hello" || !errors.Is(err, io.EOF) {
				t.Errorf("received %q and %v", got, err)
			}
			_ = conn.Close()
			must(t, asError(d.endpoint(t).Check(t.Context())))
		}
		if got := d.endpoint(t).mode(); got != tunnel.ModeHTTPSProxy {
			t.Errorf("the mode is %s", got)
		}
	})
	for name, status := range map[string]int{"a web server": 405, "a web server that forbids": 403, "a web server that is ill": 503} {
		t.Run(name, func(t *testing.T) {
			d := newDialer(t, p.client(), hang, serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			err := d.endpoint(t).Check(t.Context())
			if err == nil || d.endpoint(t).up.Load() || !strings.Contains(err.Error(), "--mode=h2-connect, or https-proxy") {
				t.Errorf("the check ended with %v, want an error that names the mode", err)
			}
		})
	}
}

// TestASilentTargetIsNotItsProxysFault: a proxy answers when it has reached the target. So a
// dial that waited in vain does not set it aside, and waits for as long as its budget. If
// the proxy is silent itself, the dial fails with the check that has shown it.
func TestASilentTargetIsNotItsProxysFault(t *testing.T) {
	const budget = 600 * time.Millisecond // a dial is in doubt after the half
	t.Run("the target", func(t *testing.T) {
		p := newPKI(t)
		s := newStandard(fromEnvoy, refusal)
		d := newDialer(t, p.client(), budget, s.serve(t, p, tunnel.ModeAuto))
		must(t, asError(d.endpoint(t).Check(t.Context())))
		s.connect.Store("")
		_, err := d.dial(t)
		failed, ok := errors.AsType[*tunnel.Error](err)
		if !ok || failed.Reason != tunnel.ReasonTimeout || failed.Fault != tunnel.FaultTarget || strings.Contains(err.Error()+failed.Next, "agent") {
			t.Errorf("the dial ended with %v, next %q; want a timeout of the target", err, failed.Next)
		}
		if is := d.endpoint(t).candidate(time.Now()); is.rank != rankGood {
			t.Errorf("the proxy has rank %d, want good", is.rank)
		}
		if got := d.samples(t, "proxy_client_server_failures_total"); s.connects.Load() != 1 || len(got) == 0 {
			t.Errorf("%d dials were made, want one; failures: %v", s.connects.Load(), got)
		}
	})
	t.Run("the app gives up", func(t *testing.T) {
		p := newPKI(t)
		s := newStandard(fromEnvoy, refusal)
		d := newDialer(t, p.client(), 2*time.Millisecond, s.serve(t, p, tunnel.ModeHTTPSProxy))
		must(t, asError(d.endpoint(t).Check(t.Context())))
		s.connect.Store("")
		ctx, cancel := context.WithCancel(t.Context())
		e := d.endpoint(t)
		time.AfterFunc(100*time.Millisecond, cancel) // long after such a dial counts
		_, err := e.dial(ctx, target, e.claim(), nil)
		if tunnel.ReasonOf(err) != tunnel.ReasonCancelled || e.candidate(time.Now()).rank != rankGood {
			t.Errorf("the dial ended with %v, and the proxy has rank %d", err, e.candidate(time.Now()).rank)
		}
	})
	t.Run("the proxy", func(t *testing.T) {
		p := newPKI(t)
		s := newStandard(fromEnvoy, refusal)
		d := newDialer(t, p.client(), time.Second, s.serve(t, p, tunnel.ModeAuto))
		must(t, asError(d.endpoint(t).Check(t.Context())))
		time.Sleep(time.Second) // until the check counts as old
		s.connect.Store("")
		s.greeting.Store("SSH-2.0-OpenSSH\r\n")
		began := time.Now()
		_, err := d.attempt(t)
		if err == nil || !err.Fault.Unreachable() || d.endpoint(t).candidate(time.Now()).rank == rankGood {
			t.Errorf("after %s the dial ended with %v, want it set aside", time.Since(began), err)
		}
	})
}

// TestEndsOfStandardProxies: close_notify is the target's end, and a FIN alone is not, for
// the kernel of a proxy that was killed sends one too. Apache's is, while its port is open.
func TestEndsOfStandardProxies(t *testing.T) {
	apache, other := "HTTP/1.0 200 Connection Established\r\nProxy-agent: Apache/2.4\r\n\r\n", "HTTP/1.1 200 OK\r\nserver: x\r\n\r\n"
	for _, tc := range []struct {
		name, connect string
		bare, killed  bool
		want          error
	}{
		{"close_notify", other, false, false, io.EOF},
		{"a FIN alone", other, true, false, tunnel.ErrBroken},
		{"a FIN of Apache", apache, true, false, io.EOF},
		{"close_notify of Apache", apache, false, false, io.EOF},
		{"Apache is gone", apache, true, true, tunnel.ErrBroken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPKI(t)
			s := newStandard(fromApache, tc.connect)
			s.bare = tc.bare
			d := newDialer(t, p.client(), hang, s.serve(t, p, tunnel.ModeHTTPSProxy))
			must(t, asError(d.endpoint(t).Check(t.Context())))
			conn, err := d.dial(t)
			must(t, err)
			defer conn.Close()
			if tc.killed {
				p.kill()
			}
			if got, err := receiveAll(conn); got != "hello" || !errors.Is(err, tc.want) {
				t.Errorf("received %q and %v, want %v", got, err, tc.want)
			}
		})
	}
}

// TestRefusedResumption: a server may hand out sessions and refuse to resume them, as squid
// with clientca= and without sslcontext= does. Each dial succeeds, and soon none asks for it
// again.
func TestRefusedResumption(t *testing.T) {
	p := newPKI(t)
	var refused atomic.Int64
	config := p.serverConfig(serverconn.ALPNHTTP1)
	config.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) {
		refused.Add(1)
		return nil, errors.New("no resumption here")
	}
	l := tls.NewListener(listen(t), config)
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, establishedLine)
			_ = conn.Close()
		}
	})}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { _ = srv.Close(); serving.Wait() })
	d := newDialer(t, p.client(), hang, tcpServer(l, tunnel.ModeHTTPConnect))
	for i := range 5 {
		conn, err := d.attempt(t)
		if err != nil {
			t.Fatalf("dial %d: %v", i, err)
		}
		_, _ = receiveAll(conn)
		_ = conn.Close()
	}
	// The script sends no alert. One more handshake may be under way when the second fails.
	if n := refused.Load(); n == 0 || n > 3 {
		t.Errorf("%d times a session was to be resumed, want two or three", n)
	}
}
