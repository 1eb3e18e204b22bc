// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
)

// Agent is one upstream agent of the lab's server.
type Agent struct {
	// Process is the agent's latest process. After a Kill, Start makes another.
	*Process
	// Index is the agent's index in Lab.Agents.
	Index int

	lab    *Lab
	host   *Namespace // where it runs
	flags  []string
	starts int
}

// StartAgentIn starts one more agent of the lab's server, with further flags. It runs in
// a shoot, which may be that of another lab behind the same shared balancer.
func (l *Lab) StartAgentIn(shoot *Namespace, flags ...string) (*Agent, error) {
	a := &Agent{Index: len(l.Agents), lab: l, host: shoot, flags: flags}
	if err := a.Start(); err != nil {
		return nil, err
	}
	l.Agents = append(l.Agents, a)
	return a, nil
}

// Start starts the agent, also again after it has ended. [Lab.WaitTunnel] waits until it
// has found its servers.
func (a *Agent) Start() error {
	a.starts++
	l := a.lab
	server, port := l.agentTarget()
	process, err := a.host.Start(a.name(), Command{Path: l.opts.agent(), Hosts: l.agentHosts, Args: append([]string{
		"--v=0", "--agent-id=" + a.name(), // a new one for each start, as upstream's default is
		"--proxy-server-host=" + server, fmt.Sprint("--proxy-server-port=", port),
		"--ca-cert=" + l.Certs.AgentCA, "--agent-cert=" + l.Certs.AgentCert, "--agent-key=" + l.Certs.AgentKey,
		"--sync-interval=200ms", "--probe-interval=200ms", "--sync-interval-cap=1s",
		fmt.Sprint("--health-server-port=", agentHealth+a.Index),
		fmt.Sprint("--admin-server-port=", agentAdmin+a.Index), "--admin-bind-address=127.0.0.1",
	}, a.flags...)})
	if err != nil {
		return err
	}
	a.Process = process
	if a.Index == 0 {
		l.Agent = process
	}
	return nil
}

// agentTarget returns the host and port that the agents dial. Behind a shared balancer
// the host is a name, because an agent sends no other name in the TLS handshake.
func (l *Lab) agentTarget() (host string, port uint16) {
	if l.opts.Shared != nil {
		return l.opts.ShootName, agentPort
	}
	entry := l.agentEntry()
	return entry.Addr().String(), entry.Port()
}

// nameForAgents makes the names that the agents can resolve, if the lab needs any.
func (l *Lab) nameForAgents() (err error) {
	names := maps.Clone(l.opts.AgentNames)
	if l.opts.Shared != nil {
		if names == nil {
			names = map[string][]netip.Addr{}
		}
		names[l.opts.ShootName] = []netip.Addr{l.opts.Shared.Address()}
	}
	if names != nil {
		l.agentHosts, err = l.NewHosts(names)
	}
	return err
}

// Restart kills the agent and starts it again.
func (a *Agent) Restart() error {
	a.Kill()
	return a.Start()
}

func (a *Agent) name() string {
	if a.Index == 0 {
		return fmt.Sprint("agent-", a.starts)
	}
	return fmt.Sprintf("agent%d-%d", a.Index, a.starts)
}

// Metrics reads the agent's metrics.
func (a *Agent) Metrics(ctx context.Context) (Metrics, error) {
	// The admin server's /metrics only redirects to this one.
	return a.host.metrics(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", agentHealth+a.Index))
}
