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
type finding struct{ Level, What string }

// blamesWhatIsToBlame gives states to the page's own function, and compares all findings:
// nothing else may be blamed.
func blamesWhatIsToBlame(t *testing.T, r *rig) {
	well := sample.Sidecar{Instance: "well", Started: time.Now().Add(-time.Hour), Connections: 5}
	p := r.open(t, r.serve(t, "127.0.0.1:0", well, nil).address, desktop)
	p.says("#verdict", "All well")
	now := time.Now()
	failure := func(reason string, age time.Duration) status.Failure {
		return status.Failure{
			Kind: status.FailureNotMade, Time: now.Add(-age), Destination: "10.250.0.4:10250", Server: "vpn-proxy-server:8090",
			Reason: reason, Error: "it failed", Cure: "mend it", Times: 2,
		}
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
		"an old CA beside a valid one":  {change: oldCA, want: []finding{{"warn", "The CA certificate CN=old in /certs/ca/ca.crt expired 1 h ago"}}},
		"the redirect was not yet seen": {change: func(s *status.State) { s.Redirect[0].OK, s.Redirect[0].Checked = false, time.Time{} }},
		"the redirect is lost": {
			change: func(s *status.State) { s.Redirect[1].OK, s.Redirect[1].Error = false, "it timed out" },
			want:   []finding{{"bad", "Connections to 100.64.0.0/12 do not reach the sidecar: it timed out."}},
		},
		"one server of two is down": {
			change: func(s *status.State) { down(&s.Servers[1]) },
			want:   []finding{{"warn", "The proxy-server vpn-proxy-server-b:8090 cannot be used: the CA is another."}},
		},
		"a server that is down explains its failures and its certificate": {
			change: func(s *status.State) {
				down(&s.Servers[0])
				s.Servers = s.Servers[:1]
				s.Certificates[2].Problem = "signed by an unknown authority"
			},
			failures: []status.Failure{failure("tls", time.Minute)},
			want:     []finding{{"bad", "The proxy-server vpn-proxy-server:8090 cannot be used: the CA is another."}},
		},
		"no agent": {
			failures: []status.Failure{failure("no_agent", time.Minute)},
			want:     []finding{{"bad", "2 connections to 10.250.0.4:10250 failed with no_agent, the last at"}},
		},
		"the target is the cause": {
			failures: []status.Failure{failure("refused", time.Minute)},
			want:     []finding{{"warn", "2 connections to 10.250.0.4:10250 failed with refused, the last at"}},
		},
		"the client certificate has expired": {
			change: func(s *status.State) { s.Certificates[1].NotAfter = now.Add(-2 * time.Hour) },
			want:   []finding{{"bad", "The client certificate /certs/client/tls.crt expired 2 h ago."}},
		},
		"the client certificate is of tomorrow": {
			change: func(s *status.State) { s.Certificates[1].NotBefore = now.Add(24*time.Hour + time.Minute) },
			want:   []finding{{"bad", "The client certificate /certs/client/tls.crt is not valid for another 1 d"}},
		},
		"a new certificate cannot be read": {
			change: func(s *status.State) { s.Certificates[1].Problem = "the changed file cannot be used" },
			want:   []finding{{"bad", "The client certificate /certs/client/tls.crt: the changed file cannot be used."}},
		},
		"all connections are in use": {
			change: func(s *status.State) { s.Open = s.MaxConnections },
			want:   []finding{{"bad", "All 11,730 connections are in use: new ones are reset."}},
		},
		"the buffers are full": {
			change: func(s *status.State) { s.HeldBytes = s.TotalBuffer },
			want:   []finding{{"bad", "The buffers are full: 256 MiB of 256 MiB"}},
		},
		"the worst comes first": {
			change: func(s *status.State) { down(&s.Servers[1]); s.Open = s.MaxConnections },
			want:   []finding{{"bad", "All 11,730 connections"}, {"warn", "The proxy-server vpn-proxy-server-b:8090"}},
		},
		"a drain": {
			change: func(s *status.State) { s.Phase = status.PhaseDraining },
			want:   []finding{{"warn", "The sidecar is draining: it waits for 5 connections to end"}},
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
		}
		if diff := gocmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: findings (-want +got):\n%s", name, diff)
		}
	}
}

// oldCA adds a CA that has expired to the bundle.
func oldCA(s *status.State) {
	old := s.Certificates[0]
	old.Subject, old.NotAfter = "CN=old", s.Now.Add(-time.Hour)
	s.Certificates = append(s.Certificates, old)
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
		const all = findings(%s, %s).map(({ level, what }) => ({ Level: level, What: what }));
		return all.length ? all : null;
	})`, a, b))
}
