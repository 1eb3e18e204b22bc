// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/test/browser/sample"
)

// finding is one of the page's sentences: its level, and the beginning of what it says.
// Next is the beginning of what to do, or empty if that is not compared.
type finding struct{ Level, What, Next string }

// blamesWhatIsToBlame gives states to the page's own function, and compares all findings:
// nothing else may be blamed.
func blamesWhatIsToBlame(t *testing.T, r *rig) {
	well := sample.Sidecar{Instance: "well", Started: time.Now().Add(-time.Hour), Connections: 5}
	p := r.open(t, r.serve(t, "127.0.0.1:0", well, nil).address, desktop)
	p.says("#verdict", "All well")
	now := time.Now()
	fault := map[string]string{"no_agent": status.FaultServer, "tls": status.FaultServer, "tunnel_broken": status.FaultServer, "refused": status.FaultTarget, "timeout": status.FaultTarget}
	failure := func(reason string, age time.Duration) status.Failure {
		return status.Failure{
			Kind: status.FailureNotMade, Time: now.Add(-age), Destination: "10.250.0.4:10250", Server: "vpn-proxy-server:8090",
			DialSeconds: 8, Reason: reason, Fault: fault[reason], Error: "it failed", Cure: "mend it", Times: 2,
		}
	}
	silent := func(age time.Duration) status.Failure {
		f := failure("timeout", age)
		f.Fault = status.FaultServer
		return f
	}
	broken := func(age time.Duration) status.Failure {
		f := failure("tunnel_broken", age)
		f.Kind = status.FailureBroken
		return f
	}
	slow := broken(time.Minute)
	slow.Reason, slow.Fault = "slow_reader", ""
	throughB := func(f status.Failure) status.Failure {
		f.Server = "vpn-proxy-server-b:8090"
		return f
	}
	down := func(s *status.Server) {
		s.Up, s.Reason, s.Cause, s.Next = false, "tls", "the CA is another", "mend the CA"
	}
	for name, c := range map[string]struct {
		change   func(*status.State)
		failures []status.Failure
		want     []finding
	}{
		"all well":                      {},
		"a failure of ten minutes ago":  {failures: []status.Failure{failure("no_agent", 10*time.Minute)}},
		"one connection is left":        {change: func(s *status.State) { s.Open = s.MaxConnections - 1 }},
		"an old CA beside a valid one":  {change: oldCA, want: []finding{{"warn", "The CA certificate CN=old in /certs/ca/ca.crt expired 1 h ago", ""}}},
		"the redirect was not yet seen": {change: func(s *status.State) { s.Redirect[0].OK, s.Redirect[0].Checked = false, time.Time{} }},
		"the redirect is lost": {
			change: func(s *status.State) { s.Redirect[1].OK, s.Redirect[1].Error = false, "it timed out" },
			want:   []finding{{"bad", "Connections to 100.64.0.0/12 do not reach the sidecar: it timed out.", ""}},
		},
		"one server of two is down": {
			change: func(s *status.State) { down(&s.Servers[1]) },
			want:   []finding{{"warn", "The proxy-server vpn-proxy-server-b:8090 cannot be used: the CA is another.", ""}},
		},
		"a server that is down explains its failures and its certificate": {
			change: func(s *status.State) {
				down(&s.Servers[0])
				s.Servers = s.Servers[:1]
				s.Certificates[2].Problem = "signed by an unknown authority"
			},
			failures: []status.Failure{failure("tls", time.Minute)},
			want:     []finding{{"bad", "The proxy-server vpn-proxy-server:8090 cannot be used: the CA is another.", ""}},
		},
		"no agent": {
			change:   unanswered,
			failures: []status.Failure{failure("no_agent", time.Minute)},
			want:     []finding{{"bad", "No connection can be made: the proxy-server vpn-proxy-server:8090 has no agent. 2 connections failed, the last at", "Mend it."}},
		},
		"no server of two has an agent": {
			change:   unanswered,
			failures: []status.Failure{failure("no_agent", time.Second), throughB(failure("no_agent", time.Minute))},
			want:     []finding{{"bad", "No connection can be made: the proxy-servers vpn-proxy-server-b:8090 and vpn-proxy-server:8090 have no agent. 4 connections failed", "Mend it."}},
		},
		"no agent, and no connection has failed yet": {
			change: alone(status.EndpointAside, "no_agent"),
			want:   []finding{{"bad", "No connection can be made: the proxy-server vpn-proxy-server:8090 has no agent.", "Mend the agent."}},
		},
		"the agent is back, and now the target is down": {
			failures: []status.Failure{failure("refused", time.Second), failure("no_agent", 30*time.Second), silent(40 * time.Second)},
			want:     []finding{{"warn", "2 connections to 10.250.0.4:10250 failed with refused, the last at", ""}},
		},
		"the only agent hangs": {
			change:   alone(status.EndpointAside, "timeout"),
			failures: []status.Failure{silent(time.Second)},
			want:     []finding{{"bad", "No connection can be made: the proxy-server vpn-proxy-server:8090 or its agent does not answer. 2 connections failed, the last at", "Mend it."}},
		},
		"the only agent has died just now": {
			change: func(s *status.State) {
				alone(status.EndpointAside, "no_agent")(s)
				s.Servers[0].Endpoints[0].Answered = now.Add(-10 * time.Second)
			},
			failures: []status.Failure{failure("no_agent", time.Second)},
			want:     []finding{{"bad", "No connection can be made: the proxy-server vpn-proxy-server:8090 has no agent. 2 connections failed, the last at", "Mend it."}},
		},
		"one of two agents hangs": {
			change: func(s *status.State) {
				unanswered(s)
				s.Servers[0].Endpoints[0].Answered = now.Add(-2 * time.Second) // while the other dial waited
			},
			failures: []status.Failure{silent(time.Second)},
			want:     []finding{{"bad", "Some connections cannot be made: the proxy-server vpn-proxy-server:8090 or its agent does not answer. 2 connections failed, the last at", "Mend it."}},
		},
		"one address of two has no agent": {
			change: func(s *status.State) { troubled(&s.Servers[0].Endpoints[1], status.EndpointAside, "no_agent") },
			want:   []finding{{"warn", "The address 10.96.14.8:8090 of vpn-proxy-server:8090 has no agent.", "Mend the agent."}},
		},
		"dials wait for the only server": {
			change: alone(status.EndpointSuspect, "no_agent"), // of an hour ago
			want:   []finding{{"warn", "Connections through the proxy-server vpn-proxy-server:8090 have waited for an answer for more than a second.", "Wait some seconds"}},
		},
		"an app gives up sooner than a target": {
			change:   alone(status.EndpointAside, "cancelled"),
			failures: []status.Failure{failure("cancelled", time.Second)},
			want:     []finding{{"warn", "2 connections to 10.250.0.4:10250 failed with cancelled, the last at", ""}},
		},
		"the target does not answer": {
			failures: []status.Failure{failure("timeout", time.Second)},
			want:     []finding{{"warn", "2 connections to 10.250.0.4:10250 failed with timeout, the last at", ""}},
		},
		"a server that is down explains all that failed through it": {
			change: func(s *status.State) {
				unanswered(s)
				down(&s.Servers[0])
				s.Servers = s.Servers[:1]
			},
			failures: []status.Failure{
				failure("no_agent", time.Minute), silent(time.Minute), failure("cancelled", time.Minute), broken(time.Minute), failure("refused", 2*time.Minute), slow,
			},
			want: []finding{
				{"bad", "The proxy-server vpn-proxy-server:8090 cannot be used: the CA is another.", "Mend the CA."},
				{"bad", "2 connections to 10.250.0.4:10250 were broken with slow_reader, the last at", ""},
				{"warn", "2 connections to 10.250.0.4:10250 failed with refused, the last at", ""},
			},
		},
		"the server is back, and no app has connected since": {
			change: func(s *status.State) {
				unanswered(s)
				s.Servers[0].Endpoints[0].UpSince = now.Add(-time.Second)
			},
			failures: []status.Failure{failure("tls", 3*time.Second)},
		},
		"the server accepts no connection of an app, although it was up before": {
			change:   unanswered,
			failures: []status.Failure{failure("tls", 3*time.Second)},
			want:     []finding{{"bad", "2 connections to 10.250.0.4:10250 failed with tls, the last at", "Mend it."}},
		},
		"connections broke": {
			failures: []status.Failure{broken(3 * time.Second)},
			want:     []finding{{"bad", "2 connections to 10.250.0.4:10250 were broken with tunnel_broken, the last at", ""}},
		},
		"connections broke, and others are made since": {
			failures: []status.Failure{broken(time.Minute)},
			want:     []finding{{"warn", "2 connections to 10.250.0.4:10250 were broken with tunnel_broken, the last at", ""}},
		},
		"the target is the cause": {
			failures: []status.Failure{failure("refused", time.Minute)},
			want:     []finding{{"warn", "2 connections to 10.250.0.4:10250 failed with refused, the last at", ""}},
		},
		"the client certificate has expired": {
			change: func(s *status.State) { s.Certificates[1].NotAfter = now.Add(-2 * time.Hour) },
			want:   []finding{{"bad", "The client certificate /certs/client/tls.crt expired 2 h ago.", ""}},
		},
		"the client certificate is due": {
			change: func(s *status.State) { s.Certificates[1].Due = true },
			want:   []finding{{"warn", "The client certificate /certs/client/tls.crt expires in ", ""}},
		},
		"the client certificate is of tomorrow": {
			change: func(s *status.State) { s.Certificates[1].NotBefore = now.Add(24*time.Hour + time.Minute) },
			want:   []finding{{"bad", "The client certificate /certs/client/tls.crt is not valid for another 1 d", ""}},
		},
		"the client certificate for exits is due": {
			change: forExits(status.Certificate{Role: status.RoleExitClient, File: "/certs/exit/tls.crt", Due: true}),
			want:   []finding{{"warn", "The client certificate for exits /certs/exit/tls.crt expires in ", "Renew /certs/exit/tls.crt."}},
		},
		"an exit's certificate is due": {
			change: forExits(status.Certificate{Role: status.RoleExit, Exit: "exit.example:9443", Due: true}),
			want:   []finding{{"warn", "The certificate of the exit exit.example:9443 expires in ", "Renew it at the exit."}},
		},
		"a new certificate cannot be read": {
			change: func(s *status.State) { s.Certificates[1].Problem = "the changed file cannot be used" },
			want:   []finding{{"bad", "The client certificate /certs/client/tls.crt: the changed file cannot be used.", ""}},
		},
		"all connections are in use": {
			change: func(s *status.State) { s.Open = s.MaxConnections },
			want:   []finding{{"bad", "All 11,730 connections are in use: new ones are reset.", ""}},
		},
		"the buffers are full": {
			change: func(s *status.State) { s.HeldBytes = s.TotalBuffer },
			want:   []finding{{"bad", "The buffers are full: 256 MiB of 256 MiB", ""}},
		},
		"the worst comes first": {
			change: func(s *status.State) { down(&s.Servers[1]); s.Open = s.MaxConnections },
			want:   []finding{{"bad", "All 11,730 connections", ""}, {"warn", "The proxy-server vpn-proxy-server-b:8090", ""}},
		},
		"a drain": {
			change: func(s *status.State) { s.Phase = status.PhaseDraining },
			want:   []finding{{"warn", "The sidecar is draining: it waits for 5 connections to end", ""}},
		},
	} {
		state := well.State(now)
		if c.change != nil {
			c.change(&state)
		}
		got := findings(p, state, status.Failures{Now: now, Failures: c.failures})
		for i := range got {
			if i < len(c.want) && strings.HasPrefix(got[i].What, c.want[i].What) {
				got[i].What = c.want[i].What
			}
			if i < len(c.want) && strings.HasPrefix(got[i].Next, c.want[i].Next) {
				got[i].Next = c.want[i].Next
			}
		}
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: findings (-want +got):\n%s", name, diff)
		}
	}
}

// unanswered is a state without an answered dial for ten minutes.
func unanswered(s *status.State) {
	for _, server := range s.Servers {
		for i := range server.Endpoints {
			server.Endpoints[i].Answered = s.Now.Add(-10 * time.Minute)
		}
	}
}

// troubled gives an endpoint a state and a reason.
func troubled(e *status.Endpoint, state, reason string) {
	e.State, e.Failures, e.Reason, e.Error, e.Next = state, 3, reason, "it failed", "mend the agent"
}

// alone returns a change to one server with one address, which has a state and a reason.
func alone(state, reason string) func(*status.State) {
	return func(s *status.State) {
		unanswered(s)
		s.Servers = s.Servers[:1]
		s.Servers[0].Endpoints = s.Servers[0].Endpoints[:1]
		troubled(&s.Servers[0].Endpoints[0], state, reason)
	}
}

// oldCA adds a CA that has expired to the bundle.
func oldCA(s *status.State) {
	old := s.Certificates[0]
	old.Subject, old.NotAfter = "CN=old", s.Now.Add(-time.Hour)
	s.Certificates = append(s.Certificates, old)
}

// forExits returns a change that adds a certificate.
func forExits(c status.Certificate) func(*status.State) {
	return func(s *status.State) {
		c.NotBefore, c.NotAfter = s.Now.Add(-time.Hour), s.Now.Add(90*time.Second)
		s.Certificates = append(s.Certificates, c)
	}
}

// findings calls the page's function.
func findings(p *page, state status.State, failures status.Failures) []finding {
	p.t.Helper()
	a, err := json.Marshal(state)
	if err != nil {
		p.t.Fatal(err)
	}
	b, err := json.Marshal(failures)
	if err != nil {
		p.t.Fatal(err)
	}
	return value[[]finding](p, fmt.Sprintf(`import("/assets/findings.js").then(({ findings }) => {
		const all = findings(%s, %s).map(({ level, what, next }) => ({ Level: level, What: what, Next: next ?? "" }));
		return all.length ? all : null;
	})`, a, b))
}
