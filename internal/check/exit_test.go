// SPDX-License-Identifier: Apache-2.0

package check

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/certtest"
	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// theExit is how the agent dials the exit.
const theExit = "exit.example:9443"

// forbidden is a target that the exit's policy forbids.
const forbidden = "100.64.3.8:9100"

// addExit starts an exit behind the fake server, and configures it.
func (w *world) addExit(t *testing.T, template x509.Certificate) {
	t.Helper()
	ca := certtest.NewCA(t, "exit CA")
	w.write(t, "exit-ca.crt", ca.CertPEM())
	template.DNSNames = []string{"exit.example"}
	pair := ca.Issue(t, template)
	l := listen(t)
	exit := &http.Server{
		ErrorLog:  log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair.TLS()}, ClientCAs: w.ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert},
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if w.webServer {
				http.NotFound(rw, r)
				return
			}
			if r.Host != pod {
				kind := "destination_ip_prohibited"
				if w.exitSays != "" {
					kind = w.exitSays
				}
				rw.Header().Set("Proxy-Status", "exit; error="+kind)
				rw.WriteHeader(http.StatusForbidden)
				return
			}
			rw.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(rw).Flush()
			_, _ = io.Copy(io.Discard, r.Body)
		}),
	}
	var work sync.WaitGroup
	work.Go(func() { _ = exit.ServeTLS(l, "", "") })
	t.Cleanup(func() {
		_ = exit.Close()
		work.Wait()
	})
	w.server.change(func(s *fakeServer) {
		s.targets[theExit] = func(conn net.Conn) {
			to, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return
			}
			var copying sync.WaitGroup
			copying.Go(func() {
				_, _ = io.Copy(to, conn)
				_ = to.Close()
			})
			_, _ = io.Copy(conn, to)
			_ = conn.Close()
			copying.Wait()
		}
	})
	w.Exits = tunnel.Exits{
		Targets: []tunnel.HostPort{theExit},
		TLS:     tunnel.TLS{CAFile: w.file("exit-ca.crt"), CertFile: w.file("client.crt"), KeyFile: w.file("client.key")},
	}
}

// step returns the only step of r with this name.
func stepOf(t *testing.T, r *report.Report, name string) report.Step {
	t.Helper()
	var found []report.Step
	for _, s := range r.Steps {
		if s.Name == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d steps %s, want one: %+v", len(found), name, r.Steps)
	}
	return found[0]
}

// TestExit: targets are dialled through an exit, if one is configured and answers. What is
// wrong with it is a failure if it is required, and otherwise a warning.
func TestExit(t *testing.T) {
	gone := func(w *world) { w.server.change(func(s *fakeServer) { delete(s.targets, theExit) }) }
	required := func(w *world) { w.Exits.Required = true }
	web := func(w *world) { w.webServer = true }
	destHost := func(w *world) { w.server.change(func(s *fakeServer) { s.noAgent = true }) }
	for _, tt := range []struct {
		name              string
		template          x509.Certificate
		wrong             []func(*world)
		exit, dial, agent report.Result
		words             string // in the step about the exit
		dialWords         string
	}{
		{"all is well", x509.Certificate{}, nil, report.OK, report.OK, report.OK, `it knows this client as "CN=client", which expires on `, "through exit " + theExit},
		{"it is gone, and preferred", x509.Certificate{}, []func(*world){gone}, report.Warning, report.OK, report.OK, "without an exit meanwhile", "through 127.0.0.1"},
		{"it is gone, and required", x509.Certificate{}, []func(*world){gone, required}, report.Failure, report.Skipped, report.OK, "an exit is required", "step exit failed"},
		{"another CA", x509.Certificate{}, []func(*world){required, func(w *world) { w.Exits.TLS.CAFile = w.file("ca.crt") }}, report.Failure, report.Skipped, report.OK, "not signed by --exit-ca-cert", ""},
		{"its certificate expires soon", x509.Certificate{NotBefore: time.Now().Add(-300 * 24 * time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}, nil, report.Warning, report.OK, report.OK, `of "CN=exit CA" expires on `, ""},
		{"the server finds agents by names, and the exit is required", x509.Certificate{}, []func(*world){destHost, required}, report.OK, report.OK, report.OK, "", ""},
		{"the server finds agents by names, and the exit is preferred", x509.Certificate{}, []func(*world){destHost}, report.OK, report.OK, report.Warning, "", ""},
		{"a web server is in its place, and it is preferred", x509.Certificate{}, []func(*world){web}, report.Warning, report.OK, report.OK, "it answers CONNECT with status 404, as web servers do. Connections go to their targets without an exit meanwhile", "through 127.0.0.1"},
		{"a web server is in its place, and it is required", x509.Certificate{}, []func(*world){web, required}, report.Failure, report.Skipped, report.OK, "it answers CONNECT with status 404", "step exit failed"},
		{"it forbids the target", x509.Certificate{}, []func(*world){func(w *world) { w.target(t, forbidden) }}, report.OK, report.Failure, report.OK, "", "forbids this client the target"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.addExit(t, tt.template)
			for _, wrong := range tt.wrong {
				wrong(w)
			}
			r := w.run(t)
			exit, dial, agent := stepOf(t, r, report.StepExit), stepOf(t, r, report.StepDial), stepOf(t, r, report.StepAgent)
			if exit.Result != tt.exit || !strings.Contains(exit.Found, tt.words) {
				t.Errorf("the exit is %s: %q, next %q; want %s and %q", exit.Result, exit.Found, exit.Next, tt.exit, tt.words)
			}
			if exit.Result != report.OK && exit.Next == "" {
				t.Error("nothing is said to do about the exit")
			}
			if dial.Result != tt.dial || !strings.Contains(dial.Found, tt.dialWords) {
				t.Errorf("the dial is %s: %q; want %s and %q", dial.Result, dial.Found, tt.dial, tt.dialWords)
			}
			if agent.Result != tt.agent {
				t.Errorf("the agent is %s: %q; want %s", agent.Result, agent.Found, tt.agent)
			}
		})
	}
}

// TestOneOfTwoExits: what becomes of connections depends on all exits, and on what the
// running sidecar says of its own tunnels.
func TestOneOfTwoExits(t *testing.T) {
	const dead = tunnel.HostPort("dead.example:9443")
	answers := func(w *world) {
		w.serving, w.state.Exits = true, &status.Exits{Required: w.Exits.Required, Answers: true}
	}
	for _, tt := range []struct {
		name          string
		required      bool
		both, sidecar bool // both exits are dead; a sidecar runs, and an exit answers it
		want          report.Result
		words, not    string
	}{
		{"one is dead, and one is required", true, false, false, report.Warning, ". Connections use the other exits meanwhile", "required"},
		{"one is dead, and one is preferred", false, false, false, report.Warning, ". Connections use the other exits meanwhile", "without an exit"},
		{"both are dead, and one is required", true, true, false, report.Failure, ". Connections fail meanwhile, because an exit is required", "other exits"},
		{"both are dead, and one is preferred", false, true, false, report.Warning, ". Connections go to their targets without an exit meanwhile", "other exits"},
		{"both are dead for this check, and one is required", true, true, true, report.Failure, ". The running sidecar still has a tunnel to an exit, and connections use that", "fail meanwhile"},
		{"both are dead for this check, and one is preferred", false, true, true, report.Warning, ". The running sidecar still has a tunnel to an exit, and connections use that", "without an exit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.addExit(t, x509.Certificate{})
			w.Exits.Targets, w.Exits.Required = append(w.Exits.Targets, dead), tt.required
			if tt.both {
				w.server.change(func(s *fakeServer) { delete(s.targets, theExit) })
			}
			if tt.sidecar {
				answers(w)
			}
			for _, s := range w.run(t).Steps {
				if s.Name != report.StepExit || s.Target != string(dead) {
					continue
				}
				if s.Result != tt.want || !strings.Contains(s.Found, tt.words) || strings.Contains(s.Found, tt.not) {
					t.Errorf("the dead exit is %s: %q; want %s and %q", s.Result, s.Found, tt.want, tt.words)
				}
				return
			}
			t.Error("there is no step about the dead exit")
		})
	}
}

// TestNotReadyForWantOfAnExit: the sidecar reaches its servers, so those are not blamed.
func TestNotReadyForWantOfAnExit(t *testing.T) {
	for _, tt := range []struct {
		name  string
		gone  bool
		words string
	}{
		{"this check has no exit either", true, "see step exit"},
		{"this check has an exit", false, "this check reaches an exit that the sidecar does not reach"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.addExit(t, x509.Certificate{})
			w.Exits.Required, w.serving = true, true
			w.ready = "no exit answers (exit exit.example:9443: connection refused)"
			w.state.Exits = &status.Exits{Required: true}
			w.state.Servers = []status.Server{{Name: "vpn:8090", Up: true}}
			if tt.gone {
				w.server.change(func(s *fakeServer) { delete(s.targets, theExit) })
			}
			s := stepOf(t, w.run(t), report.StepSidecar)
			if s.Result != report.Warning || s.Cause != report.CauseNotReady || !strings.Contains(s.Next, tt.words) || strings.Contains(s.Next, "a server") {
				t.Errorf("the sidecar is %s (%s): %q, next %q; want %q", s.Result, s.Cause, s.Found, s.Next, tt.words)
			}
		})
	}
}

// TestNextOfAnExitsRefusal: what an exit says about a dial leads to the exit or to the target,
// not to the proxy-server and its agent.
func TestNextOfAnExitsRefusal(t *testing.T) {
	for says, want := range map[string]string{
		"connection_limit_reached":  "raise the limits of the exit",
		"proxy_internal_error":      "the exit's log",
		"http_request_error":        "the exit's log",
		"connection_timeout":        "drops connections from the exit",
		"destination_unavailable":   "forbids it to the exit",
		"destination_ip_prohibited": "allow the target in the exit's policy",
		"connection_refused":        "whether the target's process runs",
	} {
		t.Run(says, func(t *testing.T) {
			w := newWorld(t)
			w.addExit(t, x509.Certificate{})
			w.exitSays = says
			w.target(t, forbidden)
			s := stepOf(t, w.run(t), report.StepDial)
			if s.Result != report.Failure || !strings.Contains(s.Next, want) || strings.Contains(s.Next, "agent") {
				t.Errorf("the dial is %s: %q, next %q; want %q", s.Result, s.Found, s.Next, want)
			}
		})
	}
}
