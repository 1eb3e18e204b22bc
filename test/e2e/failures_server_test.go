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
		// The longest one begins first.
		{
			name: "an agent that is far away", heading: "The agents are far away", opts: lab.Options{AgentRelay: true},
			after: func(_ *testing.T, s *scene) { s.AgentDelay(600 * time.Millisecond) },
			step:  "timing", cause: "slow", warning: true, says: []string{"round trips"},
		},
		{name: "nothing", heading: "Nothing is wrong"},
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
			name: "a CA that has changed", heading: "The CA has changed", before: withAnotherCA,
			step: "tls", cause: "wrong_ca", says: []string{"--ca-cert"},
		},
		{
			name: "a new pair that does not fit", heading: "The new pair does not fit", flags: fromVolume, after: withAnotherKey,
			step: "files", cause: "not_a_pair", says: []string{"--client-cert"},
		},
		{
			name: "an expired server certificate", heading: "The server's certificate has expired", before: withServerCertificate(-2*day, -day),
			step: "tls", cause: "expired", says: []string{"expired on", "renew"},
		},
		{
			name: "a server certificate that is not valid yet", heading: "The server's certificate is not valid yet", before: withServerCertificate(day, 2*day),
			step: "tls", cause: "not_yet_valid", says: []string{"not valid before"},
		},
		{
			name: "a clock that is fast", start: withClock, after: stepped(3 * day),
			step: "clock", cause: "clock", says: []string{"clock"},
		},
		{
			name: "a clock that is slow", heading: "The node's clock is wrong", start: withClock, after: stepped(-3 * day),
			step: "clock", cause: "clock", says: []string{"clock"},
		},
		{
			name: "an expired client certificate", heading: "The client certificate has expired", flags: withShortLife, after: func(*testing.T, *scene) { time.Sleep(shortLife) },
			step: "files", cause: "expired", says: []string{"--client-cert", "expired on", "renew"},
		},
		{
			name: "a client certificate of another CA", heading: "The client certificate is of another CA", flags: withStrangersCertificate,
			step: "tls", cause: "client_cert_refused", says: []string{"--client-cert", "signed by"},
		},
		{
			name: "the wrong server name", heading: "The server's name is wrong", flags: set("--server-name=konnectivity.example"),
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
			name: "http-connect instead of grpc", heading: "The mode does not fit", flags: set("--mode=http-connect"),
			step: "mode", cause: "wrong_mode", says: []string{"--mode=grpc"},
		},
		{
			name: "the agents' port", heading: "The port is the agents'", flags: set(at("8091")),
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
			name: "a name that does not resolve", heading: "Its name does not resolve", flags: set("--proxy-server=konnectivity-server.seed.lab:8090"), start: withoutNames,
			step: "name", cause: "name", says: []string{"konnectivity-server.seed.lab"},
		},
		{
			name: "no server", heading: "The proxy-server does not run", after: func(t *testing.T, s *scene) {
				s.Server.Kill()
				s.wantLogged(t, map[string]int{"proxy-server not reachable": 1})
			},
			step: "connect", cause: "connect_refused", says: []string{"10.96.0.1:8090"},
		},
		{
			name: "a server that is cut off", heading: "The proxy-server cannot be reached", after: func(t *testing.T, s *scene) {
				if _, err := s.Servers[0].BlackHole(labtest.Context(t, hang)); err != nil {
					t.Fatal(err)
				}
			},
			step: "connect", cause: "connect_timeout", says: []string{"10.96.0.1:8090"},
		},
		{
			name: "a server that hangs", heading: "The proxy-server hangs", after: func(t *testing.T, s *scene) { freeze(t, s.Server) },
			step: "tls", cause: "silent", says: []string{"10.96.0.1:8090"},
		},
		{
			name: "no agent", heading: "No agent is connected", after: killed,
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
			name: "an agent whose node is gone", heading: "An agent's node is gone", after: func(t *testing.T, s *scene) {
				if _, err := s.Partition(labtest.Context(t, hang), lab.ShootLink); err != nil {
					t.Fatal(err)
				}
			},
			step: "agent", cause: "agent_silent", says: []string{"agent"},
		},
		{
			name: "a server that knows only hosts", heading: "The server knows only hosts", opts: lab.Options{ServerFlags: []string{lab.DestHost}, AgentFlags: []string{"--agent-identifiers=host=alpha.lab"}},
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
		s.restartServer(t, s.Certs.Frontend, from, until)
	}
}

// withAnotherCA gives the server a certificate of a new CA.
func withAnotherCA(t *testing.T, s *scene) {
	t.Helper()
	next, err := lab.NewAuthority(filepath.Join(s.Dir, "certs"), "next-ca")
	if err != nil {
		t.Fatal(err)
	}
	s.restartServer(t, next, -time.Hour, day)
}

// restartServer restarts the server with a certificate of ca that is valid between two
// times, counted from now.
func (s *scene) restartServer(t *testing.T, ca *lab.Authority, from, until time.Duration) {
	t.Helper()
	now := time.Now()
	cert, key, err := ca.IssueValid("server-again", []netip.Addr{lab.SeedAddress(lab.IPv4)}, []string{lab.ServerName}, now.Add(from), now.Add(until))
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

// fromVolume returns the flags of TLS files in a folder that is mounted as the kubelet
// does it.
func fromVolume(t *testing.T, s *scene) []string {
	t.Helper()
	var err error
	if s.volume, err = lab.NewVolume(filepath.Join(s.Dir, "client")); err != nil {
		t.Fatal(err)
	}
	s.write(t, s.secret(t, s.Certs.Frontend, "first", s.Certs.Frontend))
	return []string{"--client-cert=" + s.volume.Path("tls.crt"), "--client-key=" + s.volume.Path("tls.key")}
}

// withAnotherKey renews the client's pair in that folder, and gets the key wrong. It
// returns once the sidecar has noticed.
func withAnotherKey(t *testing.T, s *scene) {
	t.Helper()
	files := s.secret(t, s.Certs.Frontend, "second", s.Certs.Frontend)
	files["tls.key"] = s.secret(t, s.Certs.Frontend, "stranger", s.Certs.Frontend)["tls.key"]
	s.write(t, files)
	s.wantServes(t)
	s.wantLogged(t, map[string]int{"cannot be used": 1})
}

func (s *scene) write(t *testing.T, files map[string][]byte) {
	t.Helper()
	if err := s.volume.Write(files); err != nil {
		t.Fatal(err)
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
const shortLife = 6 * time.Second

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
	eventually(t, "the server to see that its agent is gone", r.noAgent)
}

// noAgent returns an error if the server knows an agent.
func (r *rig) noAgent(ctx context.Context) error {
	m, err := r.ServerMetrics(ctx)
	if n := m.Sum(lab.ServerBackends); err == nil && n != 0 {
		err = fmt.Errorf("%v agents", n)
	}
	return err
}
