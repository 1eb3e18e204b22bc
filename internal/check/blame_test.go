// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/check/hints"
	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// TestOneCauseIsBlamed: a report blames the step that is wrong and no other, says the cause
// in a word and in words, and what to do.
func TestOneCauseIsBlamed(t *testing.T) {
	t.Parallel()
	day := 24 * time.Hour
	from := func(a, b time.Duration) x509.Certificate {
		return x509.Certificate{NotBefore: time.Now().Add(a), NotAfter: time.Now().Add(b)}
	}
	server := func(ca func(*world) *certtest.Pair, template x509.Certificate) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.server = startServer(t, w.ca, w.issue(t, ca(w), template))
			w.Servers = []tunnel.Server{w.server.at(w.server.listener.Addr().String())}
		}
	}
	own := func(w *world) *certtest.Pair { return w.ca }
	for _, tc := range []struct {
		name   string
		wrong  func(*testing.T, *world)
		step   string // empty if all is well
		cause  report.Cause
		result report.Result // Failure if empty
		words  string        // in what was found, or what is next
	}{
		{name: "nothing is wrong", wrong: func(*testing.T, *world) {}},
		{name: "no target", wrong: func(_ *testing.T, w *world) { w.Targets = nil }},

		{"no sidecar", func(_ *testing.T, w *world) { w.serving = false }, report.StepSidecar, report.CauseNotRunning, "", "nothing listens on"},
		{"no sidecar, and no configuration", func(_ *testing.T, w *world) { w.serving, w.CIDRs = false, nil }, report.StepSidecar, report.CauseNotRunning, "", "give this command its flags"},
		{"no sidecar, but flags", func(_ *testing.T, w *world) { w.serving, w.NeedsSidecar = false, false }, report.StepSidecar, report.CauseNotRunning, report.Warning, "nothing listens on"},
		{"a sidecar without admin address, and no flags", func(t *testing.T, w *world) {
			w.Sidecar, w.CIDRs = Ask(t.Context(), ""), nil
			w.Sidecar.live = true
		}, report.StepConfiguration, report.CauseNotAnswering, "", "sidecar's flags"},
		{"a sidecar that hangs", func(t *testing.T, w *world) {
			l := listen(t)
			serve(t, l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			w.Sidecar, w.CIDRs = Ask(t.Context(), l.Addr().String()), nil
			w.Sidecar.AskHealth(t.Context(), l.Addr().String())
		}, report.StepSidecar, report.CauseNotAnswering, "", "CPU limit"},
		{"draining", func(_ *testing.T, w *world) { w.ready = "draining" }, report.StepSidecar, report.CauseDraining, "", "ending"},
		{"not ready, but the server is there", func(_ *testing.T, w *world) { w.ready = "no proxy-server reachable (vpn:8090)" }, report.StepSidecar, report.CauseNotReady, report.Warning, "sidecar's log"},
		{"as many connections as may be", func(_ *testing.T, w *world) { w.state.Open = 100 }, report.StepSidecar, report.CauseMaxConnections, "", "--max-connections"},
		{"connections were reset a moment ago", func(_ *testing.T, w *world) {
			w.failures = []status.Failure{{Time: time.Now(), Reason: "max_connections", Times: 7}}
		}, report.StepSidecar, report.CauseMaxConnections, report.Warning, "7 connections"},
		{"the sidecar's own dials failed a moment ago", func(_ *testing.T, w *world) {
			w.failures = []status.Failure{{Time: time.Now(), Destination: pod, Reason: "timeout", Times: 3}, {Time: time.Now(), Destination: "100.64.3.8:9100", Reason: "refused"}}
		}, report.StepDial, report.CauseRecent, report.Warning, "3 with reason timeout"},
		{name: "they failed some time ago, or for want of a place", wrong: func(_ *testing.T, w *world) {
			w.failures = []status.Failure{{Time: time.Now().Add(-5 * time.Minute), Destination: pod, Reason: "timeout"}, {Time: time.Now(), Destination: pod, Reason: "cancelled"}}
		}},
		{"full buffers", func(_ *testing.T, w *world) { w.state.HeldBytes = 1 << 20 }, report.StepSidecar, report.CauseBuffers, "", "--total-buffer"},

		{"a target outside", func(t *testing.T, w *world) { w.target(t, outside) }, report.StepDestination, report.CauseOutside, "", "100.64.0.0/12"},
		{"a target outside, while all else is wrong", func(t *testing.T, w *world) {
			w.target(t, outside)
			w.server.change(func(s *fakeServer) { s.noAgent = true })
		}, report.StepDestination, report.CauseOutside, "", "198.51.100.7"},
		{"an excluded target", func(t *testing.T, w *world) { w.target(t, "100.64.9.1:80") }, report.StepDestination, report.CauseOutside, "", "--exclude-cidr 100.64.9.0/24"},
		{"the sidecar's listener", func(t *testing.T, w *world) { w.target(t, "127.0.0.1:14001") }, report.StepDestination, report.CauseLoop, "", "listener"},
		{"a target's name that does not resolve", func(t *testing.T, w *world) {
			w.target(t, "prometheus.shoot:9090")
			w.resolver = names{}
		}, report.StepDestination, report.CauseName, "", "the app needs an address"},
		{"a target's name, and no nameserver answers", func(t *testing.T, w *world) {
			w.target(t, "prometheus.shoot:9090")
			w.resolver = silentResolver{}
		}, report.StepDestination, report.CauseName, "", "no nameserver has answered for prometheus.shoot in 5"},
		{"a target's name, and the nameserver does not know it", func(t *testing.T, w *world) {
			w.target(t, "prometheus.shoot:9090")
			w.resolver = failingResolver{"server misbehaving"}
		}, report.StepDestination, report.CauseName, "", "/etc/resolv.conf"},

		{"no CA file", func(_ *testing.T, w *world) { w.TLS.CAFile = w.file("nothing") }, report.StepFiles, report.CauseFile, "", "nothing"},
		{"a CA file without a certificate", func(t *testing.T, w *world) { w.write(t, "ca.crt", []byte("?")) }, report.StepFiles, report.CauseFile, "", "ca.crt cannot be used: the file has no PEM certificate in it"},
		{"a client certificate file without a certificate", func(t *testing.T, w *world) { w.write(t, "client.crt", []byte("?")) }, report.StepFiles, report.CauseFile, "", "client.crt cannot be used: the file has no PEM certificate in it"},
		{"a key file without a key", func(t *testing.T, w *world) { w.write(t, "client.key", []byte("?")) }, report.StepFiles, report.CauseFile, "", "client.key cannot be used: the file has no PEM private key in it"},
		{"no key file", func(_ *testing.T, w *world) { w.TLS.KeyFile = w.file("nothing") }, report.StepFiles, report.CauseFile, "", "--client-key"},
		{"an expired client certificate", func(t *testing.T, w *world) { w.client(t, w.ca, from(-2*day, -day)) }, report.StepFiles, report.CauseExpired, "", "renew it"},
		{"a client certificate that is not valid yet", func(t *testing.T, w *world) { w.client(t, w.ca, from(day, 2*day)) }, report.StepFiles, report.CauseNotYetValid, "", "clock"},
		{"a client certificate that expires soon", func(t *testing.T, w *world) { w.client(t, w.ca, from(-300*day, 59*day)) }, report.StepFiles, report.CauseExpires, report.Warning, "in 59 days"},
		{name: "a client certificate of 90 days after half of them", wrong: func(t *testing.T, w *world) { w.client(t, w.ca, from(-45*day, 45*day)) }},
		{"a client certificate of 90 days in its last third", func(t *testing.T, w *world) { w.client(t, w.ca, from(-61*day, 29*day)) }, report.StepFiles, report.CauseExpires, report.Warning, "in 29 days"},
		{"a key of another certificate", func(t *testing.T, w *world) { w.write(t, "client.key", w.otherCA.KeyPEM(t)) }, report.StepFiles, report.CauseNotAPair, "", "one pair"},

		{"a name that does not exist", func(_ *testing.T, w *world) {
			w.Servers, w.resolver = []tunnel.Server{w.server.at("vpn:8090")}, names{}
		}, report.StepName, report.CauseName, "", "NAME.NAMESPACE.svc"},
		{"a resolver that is silent", func(_ *testing.T, w *world) {
			w.Servers, w.resolver = []tunnel.Server{w.server.at("vpn:8090")}, silentResolver{}
		}, report.StepName, report.CauseName, "", "/etc/resolv.conf"},
		{"a resolver that fails", func(_ *testing.T, w *world) {
			w.Servers, w.resolver = []tunnel.Server{w.server.at("vpn:8090")}, failingResolver{"server misbehaving"}
		}, report.StepName, report.CauseName, "", "the pod's nameserver cannot look up vpn: lookup vpn: server misbehaving"},
		{"a nameserver that does not run", func(_ *testing.T, w *world) {
			w.Servers, w.resolver = []tunnel.Server{w.server.at("vpn:8090")}, failingResolver{"read udp 10.0.0.1:5->10.0.0.10:53: connection refused"}
		}, report.StepName, report.CauseName, "", "no nameserver has answered for vpn: lookup vpn: read udp"},
		{"a server inside the shoot", func(_ *testing.T, w *world) {
			w.Servers, w.resolver = []tunnel.Server{w.server.at("vpn:8090")}, names{"vpn": {netip.MustParseAddr("100.64.0.1")}}
		}, report.StepName, report.CauseInside, "", "--exclude-cidr 100.64.0.1/32"},

		{"nothing listens", func(t *testing.T, w *world) {
			w.Servers = []tunnel.Server{w.server.at(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), closedPort(t)).String())}
		}, report.StepConnect, report.CauseConnectRefused, "", "usually 8090"},
		{"no socket", func(_ *testing.T, w *world) {
			w.Servers, w.TLS = []tunnel.Server{{Name: "unix:///nothing", Network: tunnel.NetworkUnix, Address: "/nothing", Mode: tunnel.ModeGRPC}}, tunnel.TLS{}
		}, report.StepConnect, report.CauseConnectRefused, "", "mount"},
		{"nothing listens on the socket", func(t *testing.T, w *world) {
			path := filepath.Join(t.TempDir(), "s")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			must(t, err)
			l.SetUnlinkOnClose(false)
			must(t, l.Close())
			w.Servers, w.TLS = []tunnel.Server{{Name: "unix://" + path, Network: tunnel.NetworkUnix, Address: path, Mode: tunnel.ModeGRPC}}, tunnel.TLS{}
		}, report.StepConnect, report.CauseConnectRefused, "", "whether the proxy-server runs"},

		{"the wrong CA", server(func(w *world) *certtest.Pair { return w.otherCA }, x509.Certificate{}), report.StepTLS, report.CauseWrongCA, "", `"CN=another CA"`},
		{"an expired server certificate", server(own, from(-2*day, -day)), report.StepTLS, report.CauseExpired, "", "renew the server's"},
		{"a server certificate that is not valid yet", server(own, from(day, 2*day)), report.StepTLS, report.CauseNotYetValid, "", "clocks"},
		{"a server certificate that expires soon", server(own, from(-300*day, 59*day)), report.StepTLS, report.CauseExpires, report.Warning, "renew"},
		{"the wrong server name", func(_ *testing.T, w *world) { w.TLS.ServerName = "elsewhere" }, report.StepTLS, report.CauseWrongName, "", `"localhost", "127.0.0.1"`},
		{"a client certificate of another CA", func(t *testing.T, w *world) { w.client(t, w.otherCA, x509.Certificate{}) }, report.StepTLS, report.CauseClientRefused, "", "--client-cert"},
		{"no client certificate", func(_ *testing.T, w *world) { w.TLS.CertFile, w.TLS.KeyFile = "", "" }, report.StepTLS, report.CauseClientRefused, "", "give --client-cert and --client-key"},
		{"a server that is silent", func(t *testing.T, w *world) {
			l := listen(t)
			serve(t, l, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
			w.Servers = []tunnel.Server{w.server.at(l.Addr().String())}
		}, report.StepTLS, report.CauseSilent, "", "hangs"},
		{"a server that hangs up", func(t *testing.T, w *world) {
			l := listen(t)
			serve(t, l, func(net.Conn) {})
			w.Servers = []tunnel.Server{w.server.at(l.Addr().String())}
		}, report.StepTLS, report.CauseSilent, "", "load balancer"},
		{"a port without TLS", func(t *testing.T, w *world) {
			l := listen(t)
			serve(t, l, func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
			w.Servers = []tunnel.Server{w.server.at(l.Addr().String())}
		}, report.StepTLS, report.CausePlaintext, "", "usually 8090"},
		{"a web server that speaks HTTP/2", func(t *testing.T, w *world) {
			l := listen(t)
			srv := &http.Server{Handler: http.NotFoundHandler(), TLSConfig: &tls.Config{Certificates: []tls.Certificate{w.issue(t, w.ca, x509.Certificate{}).TLS()}}}
			var serving sync.WaitGroup
			serving.Go(func() { _ = srv.ServeTLS(l, "", "") })
			t.Cleanup(func() { _ = srv.Close(); serving.Wait() })
			w.Servers = []tunnel.Server{w.server.at(l.Addr().String())}
		}, report.StepMode, report.CauseOtherServer, "", "h2-connect"},
		{"h2-connect asked of http-connect", func(_ *testing.T, w *world) { w.Servers[0].Mode = tunnel.ModeH2Connect }, report.StepMode, report.CauseOtherServer, "", "or correct --mode=h2-connect"},
		{"grpc asked of http-connect", func(_ *testing.T, w *world) { w.Servers[0].Mode = tunnel.ModeGRPC }, report.StepMode, report.CauseWrongMode, "", "--mode=http-connect"},
		{"HTTPConnect of a file asked of a server without HTTP/1.1", func(t *testing.T, w *world) {
			l := listen(t)
			config := &tls.Config{Certificates: []tls.Certificate{w.issue(t, w.ca, x509.Certificate{}).TLS()}, NextProtos: []string{"other"}}
			serve(t, l, func(c net.Conn) { _ = tls.Server(c, config).Handshake() })
			w.egressSelector(t, l.Addr().String())
		}, report.StepMode, report.CauseWrongMode, "", "set --proxy-server with --mode=grpc in place of --egress-selector-config-file"},

		{"no agent", func(_ *testing.T, w *world) { w.server.change(func(s *fakeServer) { s.noAgent = true }) }, report.StepAgent, report.Cause(tunnel.ReasonNoAgent), "", "agents in the shoot"},
		{"an agent that hangs", func(_ *testing.T, w *world) {
			w.server.change(func(s *fakeServer) { s.answers[AgentAddress().String()] = "" })
		}, report.StepAgent, report.CauseAgentSilent, "", "hang"},
		{"an agent for this address alone", func(_ *testing.T, w *world) {
			w.server.change(func(s *fakeServer) {
				s.answers[AgentAddress().String()] = "500 Internal Server Error\r\n\r\nNo agent available"
			})
		}, report.StepAgent, report.CauseOnlyNames, report.Warning, "--proxy-strategies"},

		{"a target that refuses", func(_ *testing.T, w *world) { w.server.change(func(s *fakeServer) { delete(s.targets, pod) }) }, report.StepDial, report.Cause(tunnel.ReasonRefused), "", "the tunnel works"},
		{"a target that does not answer", func(_ *testing.T, w *world) {
			w.server.change(func(s *fakeServer) { s.answers[pod] = "502 Bad Gateway\r\n\r\ndial tcp " + pod + ": i/o timeout" })
		}, report.StepDial, report.Cause(tunnel.ReasonTimeout), "", "node is up"},
		{"a target without a route", func(_ *testing.T, w *world) {
			w.server.change(func(s *fakeServer) {
				s.answers[pod] = "502 Bad Gateway\r\n\r\ndial tcp " + pod + ": connect: no route to host"
			})
		}, report.StepDial, report.Cause(tunnel.ReasonUnreachable), "", "still exists"},
		{"a target for which there is no agent", func(_ *testing.T, w *world) {
			w.server.change(func(s *fakeServer) { s.answers[pod] = "500 Internal Server Error\r\n\r\nNo agent available" })
		}, report.StepDial, report.Cause(tunnel.ReasonNoAgent), "", "register"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.wrong(t, w)
			got := w.run(t)
			want := tc.result
			switch {
			case tc.step == "":
				want = report.OK
			case want == "":
				want = report.Failure
			}
			codes := map[report.Result]int{report.OK: 0, report.Failure: 1, report.Warning: 3}
			if got.Result != want || got.ExitCode != codes[want] {
				t.Errorf("the result is %s with exit code %d, want %s", got.Result, got.ExitCode, want)
			}
			blamed := false
			for _, s := range got.Steps {
				if s.Result == report.OK || s.Result == report.Skipped {
					continue
				}
				if s.Name != tc.step || s.Cause != tc.cause || s.Result != want {
					t.Errorf("step %s is a %s of cause %s, want only a %s of step %s, cause %s", s.Name, s.Result, s.Cause, want, tc.step, tc.cause)
					continue
				}
				blamed = true
				if s.Next == "" || !strings.Contains(s.Found+" "+s.Next, tc.words) {
					t.Errorf("step %s does not say %q: %s Next: %s", s.Name, tc.words, s.Found, s.Next)
				}
			}
			if !blamed && tc.step != "" {
				t.Error("nothing is blamed")
			}
			if t.Failed() {
				t.Log(textOfReport(t, got))
			}
		})
	}
}

// TestOneOfTwoServers: while a server serves, it is no failure that another does not.
func TestOneOfTwoServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	down := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), closedPort(t)).String()
	w.Servers = append(w.Servers, w.server.at(down))
	got := w.run(t)
	if got.ExitCode != report.ExitWarnings || !strings.Contains(got.Verdict, down) || !strings.Contains(got.Verdict, "Dials use another") && !strings.Contains(textOfReport(t, got), "Dials use another") {
		t.Errorf("exit code %d:\n%s", got.ExitCode, textOfReport(t, got))
	}
	w.server.listener.Close()
	if got := w.run(t); got.ExitCode != report.ExitFailure {
		t.Errorf("no server is left, and the exit code is %d", got.ExitCode)
	}
}

// TestMetricsOfTheServer: they tell an agent that is found by names only from none at all,
// and a server's clock from ours.
func TestMetricsOfTheServer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		metrics string
		ahead   time.Duration // of the server's clock
		noAgent bool
		life    [2]time.Duration // of the server's certificate, from now
		cause   report.Cause
		words   string
	}{
		{name: "all is well", metrics: hints.MetricsPrefix + "ready_backend_connections 2\nproxy_build_info{a=\"b c\",version=\"v0.36.0\"} 1\n", words: "2 connections of agents, and is version v0.36.0"},
		{name: "an agent by names only", metrics: hints.MetricsPrefix + "ready_backend_connections{x=\"y\"} 1\n", noAgent: true, cause: report.CauseOnlyNames, words: "destHost"},
		{name: "no agent", metrics: hints.MetricsPrefix + "ready_backend_connections 0\n", noAgent: true, cause: report.Cause(tunnel.ReasonNoAgent), words: "which its metrics confirm"},
		{name: "another program's metrics", metrics: "up 1\n", noAgent: true, cause: report.Cause(tunnel.ReasonNoAgent), words: "no agent is connected"},
		{name: "our clock is slow", metrics: hints.MetricsPrefix + "x 1\n", ahead: 48 * time.Hour, life: [2]time.Duration{24 * time.Hour, 72 * time.Hour}, cause: report.CauseClock, words: "2 days behind"},
		{name: "our clock is fast", metrics: hints.MetricsPrefix + "x 1\n", ahead: -48 * time.Hour, life: [2]time.Duration{-72 * time.Hour, -24 * time.Hour}, cause: report.CauseClock, words: "2 days ahead of"},
		{name: "our clock is a little fast", metrics: hints.MetricsPrefix + "x 1\n", ahead: -10 * time.Minute, cause: report.CauseClock, words: "10 minutes ahead of"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			l := listen(t)
			serve(t, l, func(c net.Conn) {
				buf := make([]byte, 4096)
				if _, err := c.Read(buf); err == nil {
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nDate: "+time.Now().Add(tc.ahead).UTC().Format(http.TimeFormat)+"\r\n\r\n"+tc.metrics)
				}
			})
			w.hintsPort = uint16(l.Addr().(*net.TCPAddr).Port)
			w.server = startServer(t, w.ca, w.issue(t, w.ca, x509.Certificate{}))
			if tc.life != [2]time.Duration{} {
				w.server = startServer(t, w.ca, w.issue(t, w.ca, x509.Certificate{NotBefore: time.Now().Add(tc.life[0]), NotAfter: time.Now().Add(tc.life[1])}))
			}
			w.server.change(func(s *fakeServer) { s.noAgent = tc.noAgent })
			w.Servers = []tunnel.Server{w.server.at(w.server.listener.Addr().String())}
			got := w.run(t)
			said := textOfReport(t, got)
			if !strings.Contains(strings.Join(strings.Fields(said), " "), tc.words) {
				t.Errorf("the report does not say %q:\n%s", tc.words, said)
			}
			for _, s := range got.Steps {
				if blamed := s.Result == report.Failure || s.Result == report.Warning; blamed && s.Cause != tc.cause {
					t.Errorf("step %s is a %s of cause %s, want %q only", s.Name, s.Result, s.Cause, tc.cause)
				}
			}
		})
	}
}
