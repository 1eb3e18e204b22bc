// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Ports of the upstream server and agent: upstream's defaults. Several servers have an
// address each and all of these ports on it. Several agents share one namespace, so the
// second one's ports follow the first one's.
const (
	FrontendPort    = 8090
	agentPort       = 8091
	serverHealth    = 8092
	serverAdmin     = 8095
	agentHealth     = 8100
	agentAdmin      = 8120
	relayPort       = 8191
	startupDeadline = 30 * time.Second
)

// The upstream server's gauges. If a stream was cancelled, those of connections and dials
// change only with the next connection (removeEstablishedForStream and removeForStream in
// pkg/server/server.go).
const (
	ServerEstablished = "konnectivity_network_proxy_server_established_connections" // tunnelled connections
	ServerPending     = "konnectivity_network_proxy_server_pending_backend_dials"   // dials without an answer
	ServerBackends    = "konnectivity_network_proxy_server_ready_backend_connections"
)

// The upstream agent's gauges.
const (
	AgentEndpoints = "konnectivity_network_proxy_agent_open_endpoint_connections" // connections to targets
	AgentServers   = "konnectivity_network_proxy_agent_open_server_connections"
)

// StartServer starts the first upstream server, also again after a test has killed it. It
// waits until the server listens. [Lab.WaitTunnel] waits for its agents.
func (l *Lab) StartServer(ctx context.Context) error { return l.Servers[0].Start(ctx) }

// StartAgent starts the first upstream agent in the shoot, also again after a test has
// killed it. [Lab.WaitTunnel] waits until it has found its servers.
func (l *Lab) StartAgent() error { return l.Agents[0].Start() }

// WaitTunnel waits until each server that runs and each agent that runs have found each
// other. It does not wait for processes that are killed or frozen, or for servers that
// hide from agents.
func (l *Lab) WaitTunnel(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startupDeadline)
	defer cancel()
	return Poll(ctx, "servers and agents to find each other", func(ctx context.Context) error {
		var servers, agents population
		for _, s := range l.Servers {
			if !s.Agentless {
				servers.count(s.Process)
			}
		}
		for _, a := range l.Agents {
			agents.count(a.Process)
		}
		if servers.running == 0 || agents.running == 0 {
			return errors.New("no server runs, or no agent")
		}
		for _, s := range l.Servers {
			if s.Running() && !s.Agentless && !s.findsByIdentifier() {
				if err := agents.wantKnown(ctx, s.Name, ServerBackends, s.Metrics); err != nil {
					return err
				}
			}
		}
		for _, a := range l.Agents {
			if a.Running() {
				if err := servers.wantKnown(ctx, a.Name, AgentServers, a.Metrics); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// population is how many processes of a kind there are. A peer that knew a frozen one may
// still count it.
type population struct{ running, frozen float64 }

func (n *population) count(p *Process) {
	switch {
	case p.Running():
		n.running++
	case p.alive() == nil:
		n.frozen++
	}
}

// wantKnown returns an error if a gauge of the other side does not match.
func (n population) wantKnown(ctx context.Context, who, gauge string, read func(context.Context) (Metrics, error)) error {
	m, err := read(ctx)
	if err != nil {
		return err
	}
	if got := m.Sum(gauge); got < n.running || got > n.running+n.frozen {
		return fmt.Errorf("%s: %s is %v, want %+v", who, gauge, got, n)
	}
	return nil
}

// Frontend returns the value for --proxy-server: all servers, each by an address of its
// own.
func (l *Lab) Frontend() string {
	var all []string
	for _, s := range l.Servers {
		all = append(all, s.Frontend())
	}
	return strings.Join(all, ",")
}

// podFamily returns the family over which the pod reaches the servers.
func (l *Lab) podFamily() Families {
	if l.opts.PodFamilies.Has(IPv4) {
		return IPv4
	}
	return IPv6
}

// agentEntry returns the address that the agents dial to reach their server, unless the
// lab is behind a shared balancer.
func (l *Lab) agentEntry() netip.AddrPort {
	port := uint16(agentPort)
	if l.opts.AgentRelay {
		port = relayPort
	}
	return netip.AddrPortFrom(netip.MustParsePrefix(seedShootIPv4).Addr(), port)
}

// ServerMetrics reads the first upstream server's metrics.
func (l *Lab) ServerMetrics(ctx context.Context) (Metrics, error) { return l.Servers[0].Metrics(ctx) }
