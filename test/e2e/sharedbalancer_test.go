// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// crowdSize is how many requests each of two pods has in flight.
const crowdSize = 5000

// newTenants builds two shoots with the same addresses behind one HAProxy. Each has a
// proxy-server of its own. HAProxy chooses it by the DNS name in the TLS handshake, for
// sidecars and for agents. One server speaks grpc and the other http-connect.
func newTenants(t *testing.T) (b *lab.SharedBalancer, alpha, beta *tenant) {
	t.Helper()
	b = newSharedBalancer(t)
	everyName := map[string][]netip.Addr{tenantName("alpha"): {b.Address()}, tenantName("beta"): {b.Address()}}
	alpha = newTenant(t, b, "alpha", lab.Options{Mode: lab.GRPC, AgentNames: everyName})
	beta = newTenant(t, b, "beta", lab.Options{Mode: lab.HTTPConnect, AgentNames: everyName})
	alpha.apply(t)
	beta.apply(t)
	return b, alpha, beta
}

// TestTenThousandRequestsAtOnce: 10,000 requests are in flight through one balancer, half
// of them for each of two shoots. Each answer comes from the right one. The test loads
// all cores, so no other runs beside it.
func TestTenThousandRequestsAtOnce(t *testing.T) {
	b, alpha, beta := newTenants(t)
	alpha.startShared(t, b)
	beta.startShared(t, b)
	testCrowds(t, int(scale(crowdSize)), alpha, beta)
}

// TestSharedBalancer: shoots share a balancer as docs/shared-balancer.md says.
func TestSharedBalancer(t *testing.T) {
	t.Parallel()
	b, alpha, beta := newTenants(t)
	t.Run("a wrong name reaches no shoot", func(t *testing.T) {
		alpha.testWrongNames(t, b, beta)
		beta.testWrongNames(t, b, alpha)
	})
	t.Run("the certificates decide", func(t *testing.T) { alpha.testBorrowedCertificates(t, b, beta) })
	alpha.startShared(t, b)
	beta.startShared(t, b)
	t.Run("each answers with its name", func(t *testing.T) {
		for _, s := range []*tenant{alpha, beta} {
			s.wantAnswersFrom(t, s.id)
			s.testKinds(t)
		}
	})
	t.Run("a server restarts", func(t *testing.T) {
		testRestartBeside(t, alpha, beta)
		testRestartBeside(t, beta, alpha)
	})
	t.Run("a shoot is added", func(t *testing.T) { testShootIsAdded(t, b, alpha, beta) })
	// The control experiment: all of the above goes through this HAProxy, and what breaks
	// connections is seen.
	t.Run("the balancer restarts", func(t *testing.T) { testBalancerRestarts(t, b, alpha, beta) })
}

// testWrongNames tries sidecars and agents of one shoot with another name than its own.
// Their certificates are right. The other shoot's server has a certificate of another CA,
// and the balancer closes connections with a name that it does not know.
func (s *tenant) testWrongNames(t *testing.T, b *lab.SharedBalancer, other *tenant) {
	server := "--proxy-server=" + b.Frontend()
	s.wantNoServer(t, "tls", "certificate", server, "--server-name="+tenantName(other.id))
	s.wantNoServer(t, "server_unreachable", "TLS handshake", server, "--server-name="+tenantName("nobody"))
	// An address is no name, and TLS clients do not send it.
	s.wantNoServer(t, "server_unreachable", "TLS handshake", server)
	// The name and the CA are those of the other shoot. Its server refuses the client's
	// certificate.
	s.wantNoServer(t, "tls", "certificate", server, "--server-name="+tenantName(other.id), "--ca-cert="+other.Certs.FrontendCA)
	s.wantNoPlainText(t, b)
	s.wantNoAgent(t, "certificate signed by unknown authority", "--proxy-server-host="+tenantName(other.id))
	s.wantNoAgent(t, "remote error: tls: ", "--proxy-server-host="+tenantName(other.id), "--ca-cert="+other.Certs.AgentCA)
}

// wantNoServer starts a sidecar with these flags. /readyz must contain a text, and a
// connection must end in a reset with that reason.
func (s *tenant) wantNoServer(t *testing.T, reason, says string, flags ...string) {
	t.Helper()
	s.strays++
	stray, err := s.Pod.Start(fmt.Sprint("stray-", s.strays), s.ProxyClientCommand(append(flags, "--dial-timeout=1s")...))
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Kill()
	eventually(t, "/readyz to tell why", func(ctx context.Context) error {
		said, err := s.notReady(ctx)
		if err == nil && !strings.Contains(said, says) {
			err = fmt.Errorf("/readyz says %q, which does not name %s", said, says)
		}
		return err
	})
	before := s.metrics(t)
	s.wantReset(t, lab.ShootPod(lab.IPv4, 1), target.NamedPort, hang)
	s.wantCounted(t, "proxy_client_dial_failures_total", before, reason)
}

// wantNoPlainText expects that the balancer closes a connection without TLS.
func (s *tenant) wantNoPlainText(t *testing.T, b *lab.SharedBalancer) {
	t.Helper()
	conn, err := s.Pod.DialContext(labtest.Context(t, hang), "tcp", b.Frontend())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+tenantName(s.id)+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(conn); len(got) != 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client without TLS gets %q and error %v, want the end of its connection", got, err)
	}
}

// wantNoAgent starts an agent in the shoot with these flags. Its log must have a text, and
// no server must accept it.
func (s *tenant) wantNoAgent(t *testing.T, says string, flags ...string) {
	t.Helper()
	agent, err := s.StartAgentIn(s.Shoot, flags...)
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Kill()
	eventually(t, "the agent to tell why it finds no server", func(context.Context) error {
		if log := agent.Log(); !strings.Contains(log, says) {
			return fmt.Errorf("it does not say %q:\n%s", says, log)
		}
		return nil
	})
	var m lab.Metrics
	eventually(t, "the agent's metrics", func(ctx context.Context) (err error) { // an agent logs before it serves them
		m, err = agent.Metrics(ctx)
		return err
	})
	if servers := m.Sum(lab.AgentServers); servers != 0 {
		t.Errorf("the agent has %v servers, want none", servers)
	}
}

// testBorrowedCertificates starts a sidecar with the name and all certificates of another
// shoot. It reaches that one. So nothing but the certificates keeps the shoots apart, and
// an answer of the wrong shoot is noticed.
func (s *tenant) testBorrowedCertificates(t *testing.T, b *lab.SharedBalancer, lender *tenant) {
	s.start(t, "--proxy-server="+b.Frontend(), "--server-name="+tenantName(lender.id), "--ca-cert="+lender.Certs.FrontendCA,
		"--client-cert="+lender.Certs.ClientCert, "--client-key="+lender.Certs.ClientKey)
	s.wantAnswersFrom(t, lender.id)
	s.sidecar.Stop(hang)
}

// testRestartBeside restarts one shoot's server. Its connections are reset. The other
// shoot notices nothing.
func testRestartBeside(t *testing.T, restarted, other *tenant) {
	lost := restarted.startLive(t, 20)
	traffic := other.startTraffic(t)
	ctx := labtest.Context(t, time.Minute)
	restarted.Server.Kill()
	killed := time.Now()
	lost.await(t, 20, hang)
	if err := restarted.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	if err := restarted.WaitTunnel(ctx); err != nil {
		t.Fatal(err)
	}
	restarted.wantServes(t)
	restarted.wantAnswersFrom(t, restarted.id)
	traffic.wantUndisturbed(t)
	lost.wantEnded(t, 20, killed, syscall.ECONNRESET)
}

// testShootIsAdded adds a third shoot while the first two have traffic. Its sidecar knows
// the balancer only by the shoot's name, and needs no --server-name.
func testShootIsAdded(t *testing.T, b *lab.SharedBalancer, others ...*tenant) {
	var running []*otherTraffic
	for _, s := range others {
		running = append(running, s.startTraffic(t))
	}
	gamma := newTenant(t, b, "gamma", lab.Options{})
	gamma.apply(t)
	hosts, err := gamma.NewHosts(map[string][]netip.Addr{tenantName("gamma"): {b.Address()}})
	if err != nil {
		t.Fatal(err)
	}
	command := gamma.ProxyClientCommand(fmt.Sprintf("--proxy-server=%s:%d", tenantName("gamma"), lab.FrontendPort))
	command.Hosts = hosts
	if gamma.sidecar, err = gamma.StartSidecar(labtest.Context(t, hang), command); err != nil {
		t.Fatal(err)
	}
	gamma.wantAnswersFrom(t, "gamma")
	for _, o := range running {
		o.wantUndisturbed(t)
		o.wantAnswersFrom(t, o.id)
	}
	// Each shoot that was added has left a worker, and the restarts of both servers have
	// ended the first one: the agents connected again.
	eventually(t, "HAProxy to have one old worker, from before the last reload", func(ctx context.Context) error {
		old, err := b.OldWorkers(ctx)
		if err == nil && old != 1 {
			err = fmt.Errorf("it has %d", old)
		}
		return err
	})
}

// testBalancerRestarts restarts HAProxy instead of reloading it. That resets the
// connections of all shoots. New ones work once the agents are back.
func testBalancerRestarts(t *testing.T, b *lab.SharedBalancer, tenants ...*tenant) {
	var lost []*liveSet
	for _, s := range tenants {
		lost = append(lost, s.startLive(t, 20))
	}
	ctx := labtest.Context(t, time.Minute)
	b.Kill()
	killed := time.Now()
	for _, set := range lost {
		set.await(t, 20, hang)
		set.wantEnded(t, 20, killed, syscall.ECONNRESET)
	}
	if err := b.Start(ctx); err != nil {
		t.Fatal(err)
	}
	for _, s := range tenants {
		if err := s.WaitTunnel(ctx); err != nil {
			t.Fatal(err)
		}
		s.wantServes(t)
		s.wantAnswersFrom(t, s.id)
		s.wantNoLeak(t)
	}
}
