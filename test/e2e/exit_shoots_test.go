// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/labtest"
	"github.com/shoot-proxy/proxy-client/test/target"
)

// exitOf returns the name by which a shoot's exit is reached, and with which its agents
// register.
func exitOf(id string) string { return id + "-exit" }

// TestOneServerForSeveralShootsByTheirExits: two shoots with the same addresses are behind
// one server with --proxy-strategies=destHost. The name of the exit picks the shoot, and
// each address behind it can be reached. Without an exit only registered addresses can
// (TestOneServerForSeveralShoots). No connection ever reaches the other shoot, also while
// a shoot has no agent.
//
// Nothing but the name tells the shoots apart. Both exits have one certificate, both names
// resolve to one address in both shoots, and each sidecar may use both exits.
func TestOneServerForSeveralShootsByTheirExits(t *testing.T) {
	eachMode(t, func(t *testing.T, mode lab.Mode) {
		b := newSharedBalancer(t)
		exits := []netip.Addr{lab.ExitAddress(lab.IPv4, 0)}
		names := map[string][]netip.Addr{exitOf("alpha"): exits, exitOf("beta"): exits}
		alpha := newTenant(t, b, "alpha", lab.Options{
			Mode: mode, ServerFlags: []string{lab.DestHost}, AgentNames: names, Exits: 1,
			AgentFlags: []string{"--agent-identifiers=host=" + exitOf("alpha")},
		})
		beta := newTenant(t, b, "beta", lab.Options{Mode: mode, Exits: 1})
		beta.adoptCertificates(t, alpha)
		agent, err := alpha.StartAgentIn(beta.Shoot, "--agent-identifiers=host="+exitOf("beta"))
		if err != nil {
			t.Fatal(err)
		}
		if err := alpha.WaitTunnel(labtest.Context(t, hang)); err != nil {
			t.Fatal(err)
		}
		pods := []*exitPod{alpha.newExitPod(t, "alpha"), alpha.newExitPod(t, "beta")}
		askAtOnce(t, pods)
		pods[1].testWithoutItsAgent(t, agent, pods[0])
		askAtOnce(t, pods)
		pods[0].testOtherName(t, alpha)
	})
}

// adoptCertificates makes a shoot's exit use another shoot's certificate and CA.
func (s *tenant) adoptCertificates(t *testing.T, other *tenant) {
	t.Helper()
	c := other.ExitCerts
	s.Exits[0].Flags = []string{"--tls-cert=" + c.Cert, "--tls-key=" + c.Key, "--client-ca=" + c.CA}
	if err := s.Exits[0].Restart(labtest.Context(t, hang)); err != nil {
		t.Fatal(err)
	}
}

// exitPod is a pod of the seed whose sidecar uses the exit of one shoot.
type exitPod struct {
	host    *lab.Namespace
	sidecar *lab.Process
	id      string
}

// newExitPod makes a pod of the lab's seed with init-redirect and a sidecar.
func (s *tenant) newExitPod(t *testing.T, id string) *exitPod {
	t.Helper()
	host, err := s.AddPod()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := host.Run(labtest.Context(t, hang), s.InitRedirectCommand("apply")); err != nil {
		t.Fatal(err)
	}
	p := &exitPod{host: host, id: id}
	p.start(t, s, id)
	return p
}

// start starts the pod's sidecar with the exit of that name.
func (p *exitPod) start(t *testing.T, s *tenant, id string) {
	t.Helper()
	var err error
	flags := s.ExitFlags(fmt.Sprintf("--exit=%s:%d", exitOf(id), lab.ExitPort), "--dial-timeout=4s")
	if p.sidecar, err = s.StartSidecarIn(p.host, s.ProxyClientCommand(flags...)); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitSidecar(labtest.Context(t, hang), p.host, p.sidecar, "/readyz"); err != nil {
		t.Fatal(err)
	}
}

// whoAnswers returns the shoot in which an app of the pod finds an address.
func (p *exitPod) whoAnswers(ctx context.Context, addr netip.Addr) (string, error) {
	conn, err := p.host.DialContext(ctx, "tcp", net.JoinHostPort(addr.String(), strconv.Itoa(target.NamedPort)))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return "", err
		}
	}
	return nameOf(conn)
}

// askAtOnce asks many targets from all pods at the same time, and expects that each pod
// gets answers of its own shoot.
func askAtOnce(t *testing.T, pods []*exitPod) {
	t.Helper()
	ctx := labtest.Context(t, time.Minute)
	var asks sync.WaitGroup
	for _, p := range pods {
		for worker := range 8 {
			asks.Go(func() {
				for i := range 25 {
					f := lab.DualStack.Each()[i%2]
					addrs := append(kinds(f), lab.ShootPod(f, 1+(worker+i)%lab.PodAddresses))
					addr := addrs[i%len(addrs)]
					if got, err := p.whoAnswers(ctx, addr); err != nil || got != p.id {
						t.Errorf("%s from the pod of %s is in shoot %q (%v)", addr, p.id, got, err)
						return
					}
				}
			})
		}
	}
	asks.Wait()
}

// testWithoutItsAgent: a shoot whose only agent has died is not reached at all. Its
// connections are reset, and the other shoot's work.
func (p *exitPod) testWithoutItsAgent(t *testing.T, agent *lab.Agent, other *exitPod) {
	t.Helper()
	agent.Kill()
	eventually(t, "the shoot to be out of reach", func(ctx context.Context) error {
		got, err := p.whoAnswers(ctx, lab.ShootPod(lab.IPv4, 1))
		if got != "" && got != p.id {
			t.Fatalf("from the pod of %s shoot %q answers", p.id, got)
		}
		if errors.Is(err, syscall.ECONNRESET) {
			return nil
		}
		return fmt.Errorf("a connection ends with %q and %v", got, err)
	})
	askAtOnce(t, []*exitPod{other})
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the shoot to be in reach again", func(ctx context.Context) error {
		_, err := p.whoAnswers(ctx, lab.ShootPod(lab.IPv4, 1))
		return err
	})
}

// testOtherName is the control experiment: the name alone decides. With the name of the
// other shoot's exit the same pod reaches the other shoot.
func (p *exitPod) testOtherName(t *testing.T, s *tenant) {
	t.Helper()
	p.sidecar.Stop(hang)
	p.start(t, s, "beta")
	for _, f := range lab.DualStack.Each() {
		if got, err := p.whoAnswers(labtest.Context(t, hang), lab.ShootPod(f, 1)); err != nil || got != "beta" {
			t.Errorf("through the exit of beta shoot %q answers (%v)", got, err)
		}
	}
}
