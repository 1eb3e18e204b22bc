// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// What the agents of the two shoots register in TestOneServerForSeveralShoots. The number
// of a pod is the end of its address.
const (
	alphaRegisters = "--agent-identifiers=host=alpha.lab&ipv4=100.64.0.7&ipv6=fd10:64::7&ipv4=100.64.0.9&cidr=100.64.0.0/24"
	// The IPv6 address is written out. The sidecar writes the short form.
	betaRegisters = "--agent-identifiers=host=beta.lab&ipv4=100.64.0.8&ipv6=fd10:64:0:0:0:0:0:8&ipv4=100.64.0.9"
)

// TestOneServerForSeveralShoots: with --proxy-strategies=destHost one server serves the
// agents of two shoots. It finds an agent only by a host that the agent has registered.
// A client of konnectivity reaches each shoot by a name. The sidecar dials addresses. It
// reaches those that an agent has registered exactly, and no others.
func TestOneServerForSeveralShoots(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		b := newSharedBalancer(t)
		// Each agent resolves both names to the same address, that of its own shoot.
		pod := []netip.Addr{lab.ShootPod(lab.IPv4, 1)}
		alpha := newTenant(t, b, "alpha", lab.Options{
			Mode: mode, ServerFlags: []string{lab.DestHost}, AgentFlags: []string{alphaRegisters},
			AgentNames: map[string][]netip.Addr{"alpha.lab": pod, "beta.lab": pod},
		})
		beta := newTenant(t, b, "beta", lab.Options{Mode: mode})
		if _, err := alpha.StartAgentIn(beta.Shoot, betaRegisters); err != nil {
			t.Fatal(err)
		}
		if err := alpha.WaitTunnel(labtest.Context(t, hang)); err != nil {
			t.Fatal(err)
		}
		alpha.apply(t)
		alpha.start(t, "--dial-timeout=4s")
		alpha.testStockNames(t)
		alpha.testRegisteredAddresses(t)
		alpha.testUnregisteredAddresses(t)
		alpha.testCheck(t)
		alpha.testDefaultStrategy(t)
	})
}

// testStockNames dials names and addresses as a client that was written for konnectivity.
func (s *tenant) testStockNames(t *testing.T) {
	t.Helper()
	for name, want := range map[string]string{
		"alpha.lab": "alpha", "beta.lab": "beta", "100.64.0.7": "alpha", "[fd10:64::7]": "alpha", "100.64.0.8": "beta",
	} {
		// The server may learn of an agent a moment after the agent has connected.
		eventually(t, name+" to be reached", func(ctx context.Context) error {
			got, err := s.stockName(ctx, name)
			if err == nil && got != want {
				err = fmt.Errorf("shoot %q answers", got)
			}
			return err
		})
	}
	for _, addr := range []string{"100.64.0.1", "10.250.0.4", "[fd10:64::8]"} {
		if got, err := s.stockName(labtest.Context(t, hang), addr); err == nil {
			t.Errorf("shoot %q answers at %s, which no agent has registered", got, addr)
		}
	}
}

func (s *tenant) stockName(ctx context.Context, host string) (string, error) {
	conn, err := s.stockDial(ctx, fmt.Sprintf("%s:%d", host, target.NamedPort))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return nameOf(conn)
}

// testRegisteredAddresses: the sidecar reaches an address that an agent has registered,
// in the shoot of that agent. Of two agents with the same address only the first is asked.
func (s *tenant) testRegisteredAddresses(t *testing.T) {
	t.Helper()
	got := map[string]string{}
	for _, addr := range []netip.Addr{lab.ShootPod(lab.IPv4, 7), lab.ShootPod(lab.IPv6, 7), lab.ShootPod(lab.IPv4, 8)} {
		name, err := s.whoAnswers(labtest.Context(t, hang), addr)
		got[addr.String()] = name
		if err != nil {
			t.Errorf("%s is registered, and a connection to it ends with %v", addr, err)
		}
	}
	want := map[string]string{"100.64.0.7": "alpha", "fd10:64::7": "alpha", "100.64.0.8": "beta"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("which shoot answers at an address (-want +got):\n%s", diff)
	}
	if got := s.askOften(t, lab.ShootPod(lab.IPv4, 9)); len(got) != 1 || got["alpha"] == 0 {
		t.Errorf("both shoots have registered an address, and %v answer, want the first alone", got)
	}
}

// askOften connects to an address many times and counts the shoots that answer.
func (s *tenant) askOften(t *testing.T, addr netip.Addr) map[string]int {
	t.Helper()
	answers := map[string]int{}
	for range 40 {
		name, err := s.whoAnswers(labtest.Context(t, hang), addr)
		if err != nil {
			t.Fatalf("a connection to %s: %v", addr, err)
		}
		answers[name]++
	}
	return answers
}

// testUnregisteredAddresses: the server finds no agent for an address that is only in a
// registered CIDR, in none, or registered in another spelling.
func (s *tenant) testUnregisteredAddresses(t *testing.T) {
	t.Helper()
	before := s.metrics(t)
	var dials sync.WaitGroup
	all := []netip.Addr{lab.ShootPod(lab.IPv4, 1), lab.ShootNode(lab.IPv4), lab.ShootPod(lab.IPv6, 8)}
	for _, addr := range all {
		dials.Go(func() { s.wantReset(t, addr, target.NamedPort, hang) })
	}
	dials.Wait()
	eventually(t, "the failed dials to be counted", func(ctx context.Context) error {
		after, err := s.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		want := map[string]float64{`reason="no_agent"`: float64(len(all))}
		if diff := cmp.Diff(want, increases("proxy_client_dial_failures_total", before, after)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// testCheck: the check says that the server finds agents by what they have registered, and
// whether the target is among it.
func (s *tenant) testCheck(t *testing.T) {
	t.Helper()
	for addr, want := range map[netip.Addr]string{lab.ShootPod(lab.IPv4, 7): "warning", lab.ShootPod(lab.IPv4, 1): "failure"} {
		got := s.check(t, netip.AddrPortFrom(addr, target.NamedPort).String())
		if step := got.step(t, "agent"); step.Result != want || step.Cause != "no_agent_for_address" && step.Cause != "no_agent" || got.Result != want {
			t.Errorf("the check of %s ends with %s, want %s of step agent:\n%s", addr, got.Result, want, got)
		}
	}
}

// testDefaultStrategy restarts the server with its default strategy. It then sends each
// dial to a random agent, so that both shoots answer at one address. This is why one
// server with that strategy must not have agents of several shoots. It also shows that
// the tests above would see an answer of the wrong shoot.
func (s *tenant) testDefaultStrategy(t *testing.T) {
	t.Helper()
	ctx := labtest.Context(t, time.Minute)
	s.Server.Kill()
	s.Servers[0].Flags = nil
	if err := s.StartServer(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitTunnel(ctx); err != nil {
		t.Fatal(err)
	}
	s.wantServes(t)
	if got := s.askOften(t, lab.ShootPod(lab.IPv4, 1)); got["alpha"] == 0 || got["beta"] == 0 {
		t.Errorf("agents of two shoots serve one address, and %v answer, want both", got)
	}
}
