// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/wallclock"
)

// failures returns all that are provoked, and two labs without any.
func failures() []failure {
	return slices.Concat([]failure{
		{name: "nothing"},
		{name: "nothing over http-connect", opts: lab.Options{Mode: lab.HTTPConnect}},
	}, certificateFailures(), serverFailures(), targetFailures(), redirectFailures(), sidecarFailures())
}

const day = 24 * time.Hour

// certificateFailures are those of TLS files and of clocks.
func certificateFailures() []failure {
	return []failure{
		{
			name: "the wrong CA", flags: func(_ *testing.T, s *scene) []string { return []string{"--ca-cert=" + s.Certs.AgentCA} },
			step: "tls", cause: "wrong_ca", says: []string{"--ca-cert"},
		},
		{
			name: "an expired server certificate", before: withServerCertificate(-2*day, -day),
			step: "tls", cause: "expired", says: []string{"expired on", "renew"},
		},
		{
			name: "a server certificate that is not valid yet", before: withServerCertificate(day, 2*day),
			step: "tls", cause: "not_yet_valid", says: []string{"not valid before"},
		},
		{
			name: "a clock that is fast", start: withClock, after: stepped(3 * day),
			step: "clock", cause: "clock", says: []string{"clock"},
		},
		{
			name: "a clock that is slow", start: withClock, after: stepped(-3 * day),
			step: "clock", cause: "clock", says: []string{"clock"},
		},
		{
			name: "an expired client certificate", flags: withShortLife, after: func(*testing.T, *scene) { time.Sleep(shortLife) },
			step: "files", cause: "expired", says: []string{"--client-cert", "expired on", "renew"},
		},
		{
			name: "a client certificate of another CA", flags: withStrangersCertificate,
			step: "tls", cause: "client_cert_refused", says: []string{"--client-cert", "signed by"},
		},
		{
			name: "the wrong server name", flags: set("--server-name=konnectivity.example"),
			step: "tls", cause: "wrong_name", says: []string{"konnectivity.example", "--server-name"},
		},
	}
}

// serverFailures are those of proxy-servers and agents.
func serverFailures() []failure {
	at := func(port string) string { return fmt.Sprintf("--proxy-server=%s:%s", lab.SeedAddress(lab.IPv4), port) }
	killed := func(t *testing.T, s *scene) { s.Agent.Kill(); s.awaitNoAgent(t) }
	return []failure{
		{
			name: "grpc instead of http-connect", opts: lab.Options{Mode: lab.HTTPConnect}, flags: set("--mode=grpc"),
			step: "mode", cause: "wrong_mode", says: []string{"--mode=http-connect"},
		},
		{
			name: "http-connect instead of grpc", flags: set("--mode=http-connect"),
			step: "mode", cause: "wrong_mode", says: []string{"--mode=grpc"},
		},
		{
			name: "the agents' port", flags: set(at("8091")),
			step: "tls", cause: "agents_port", says: []string{"agents' port", "8090"},
		},
		{
			name: "the agents' port, with their certificates", flags: func(t *testing.T, s *scene) []string { return append(s.agentsClient(t), at("8091")) },
			step: "mode", cause: "agents_port", says: []string{"agents' port", "8090"},
		},
		{
			name: "a port without TLS", flags: set(at("8092")),
			step: "tls", cause: "plaintext", says: []string{"without TLS", "8090"},
		},
		{
			name: "a name that does not resolve", flags: set("--proxy-server=konnectivity-server.seed.lab:8090"), start: withoutNames,
			step: "name", cause: "name", says: []string{"konnectivity-server.seed.lab"},
		},
		{
			name: "no server", after: func(_ *testing.T, s *scene) { s.Server.Kill() },
			step: "connect", cause: "connect_refused", says: []string{"10.96.0.1:8090"},
		},
		{
			name: "a server that is cut off", after: func(t *testing.T, s *scene) {
				if _, err := s.Servers[0].BlackHole(labtest.Context(t, hang)); err != nil {
					t.Fatal(err)
				}
			},
			step: "connect", cause: "connect_timeout", says: []string{"10.96.0.1:8090"},
		},
		{
			name: "a server that hangs", after: func(t *testing.T, s *scene) { freeze(t, s.Server) },
			step: "tls", cause: "silent", says: []string{"10.96.0.1:8090"},
		},
		{
			name: "no agent", after: killed,
			step: "agent", cause: "no_agent", says: []string{"agent"},
		},
		{
			name: "no agent over http-connect", opts: lab.Options{Mode: lab.HTTPConnect}, after: killed,
			step: "agent", cause: "no_agent", says: []string{"agent"},
		},
		{
			name: "an agent that hangs", after: func(t *testing.T, s *scene) { freeze(t, s.Agent) },
			step: "agent", cause: "agent_silent", says: []string{"agent"},
		},
		{
			name: "a server that knows only hosts", opts: lab.Options{ServerFlags: []string{lab.DestHost}, AgentFlags: []string{"--agent-identifiers=host=alpha.lab"}},
			step: "agent", cause: "no_agent_for_address", says: []string{"--proxy-strategies"},
		},
	}
}

// set returns flags that need no lab.
func set(flags ...string) func(*testing.T, *scene) []string {
	return func(*testing.T, *scene) []string { return flags }
}

// withServerCertificate gives the server a certificate that is valid between two times,
// counted from now.
func withServerCertificate(from, until time.Duration) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		now := time.Now()
		cert, key, err := s.Certs.Frontend.IssueValid("server-again", []netip.Addr{lab.SeedAddress(lab.IPv4)}, []string{lab.ServerName}, now.Add(from), now.Add(until))
		if err != nil {
			t.Fatal(err)
		}
		s.Certs.ServerCert, s.Certs.ServerKey = cert, key
		ctx := labtest.Context(t, hang)
		if err := s.Servers[0].Restart(ctx); err != nil {
			t.Fatal(err)
		}
		if err := s.WaitTunnel(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// withClock gives the sidecar and the check a wall clock of their own, which is right at
// first: a sidecar does not start with a certificate that is not valid. Both are built
// again for that.
func withClock(t *testing.T, s *scene) {
	t.Helper()
	root, err := lab.RepositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	s.command.Path = filepath.Join(s.Dir, "bin", "proxy-client-with-a-clock")
	if err := wallclock.Build(labtest.Context(t, 5*time.Minute), root, "./cmd/proxy-client", s.command.Path); err != nil {
		t.Fatal(err)
	}
	if s.clock, err = wallclock.New(filepath.Join(s.Dir, "clock")); err != nil {
		t.Fatal(err)
	}
	s.command.Env = []string{s.clock.Env()}
}

// stepped sets this clock forward, or back if the step is negative.
func stepped(step time.Duration) func(*testing.T, *scene) {
	return func(t *testing.T, s *scene) {
		t.Helper()
		if err := s.clock.Set(step); err != nil {
			t.Fatal(err)
		}
	}
}

// shortLife is how long a certificate is valid that expires while the sidecar runs.
const shortLife = 2 * time.Second

// withShortLife returns a client certificate that expires while the sidecar runs.
func withShortLife(t *testing.T, s *scene) []string {
	t.Helper()
	now := time.Now()
	cert, key, err := s.Certs.Frontend.IssueValid("short", nil, nil, now.Add(-time.Hour), now.Add(shortLife))
	if err != nil {
		t.Fatal(err)
	}
	giveToSidecar(t, key)
	return []string{"--client-cert=" + cert, "--client-key=" + key}
}

// withStrangersCertificate returns a client certificate that the server's CA has not signed.
func withStrangersCertificate(t *testing.T, s *scene) []string {
	t.Helper()
	cert, key, err := s.Certs.Agents.Issue("stranger", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	giveToSidecar(t, key)
	return []string{"--client-cert=" + cert, "--client-key=" + key}
}

func giveToSidecar(t *testing.T, key string) {
	t.Helper()
	if err := os.Chown(key, lab.ProxyUID, lab.ProxyUID); err != nil {
		t.Fatal(err)
	}
}

// withoutNames lets the sidecar and the check resolve no name but localhost.
func withoutNames(t *testing.T, s *scene) {
	t.Helper()
	var err error
	if s.command.Hosts, err = s.NewHosts(nil); err != nil {
		t.Fatal(err)
	}
}

func freeze(t *testing.T, p *lab.Process) {
	t.Helper()
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
}

// awaitNoAgent waits until the server sees that its agent is gone.
func (r *rig) awaitNoAgent(t *testing.T) {
	t.Helper()
	eventually(t, "the server to see that its agent is gone", func(ctx context.Context) error {
		m, err := r.ServerMetrics(ctx)
		if n := m.Sum(lab.ServerBackends); err == nil && n != 0 {
			err = fmt.Errorf("%v agents", n)
		}
		return err
	})
}
