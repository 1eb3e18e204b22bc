// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
)

// Agent is one upstream agent of the shoot.
type Agent struct {
	// Process is the agent's latest process. After a Kill, Start makes another.
	*Process
	// Index is the agent's index in Lab.Agents.
	Index int

	lab    *Lab
	starts int
}

// Start starts the agent, also again after it has ended. [Lab.WaitTunnel] waits until it
// has found its servers.
func (a *Agent) Start() error {
	a.starts++
	l := a.lab
	entry := l.agentEntry()
	process, err := l.Shoot.Start(a.name(), Command{Path: l.opts.agent(), Args: []string{
		"--v=0", "--agent-id=" + a.name(), // a new one for each start, as upstream's default is
		fmt.Sprint("--proxy-server-host=", entry.Addr()), fmt.Sprint("--proxy-server-port=", entry.Port()),
		"--ca-cert=" + l.Certs.AgentCA, "--agent-cert=" + l.Certs.AgentCert, "--agent-key=" + l.Certs.AgentKey,
		"--sync-interval=200ms", "--probe-interval=200ms", "--sync-interval-cap=1s",
		fmt.Sprint("--health-server-port=", agentHealth+a.Index),
		fmt.Sprint("--admin-server-port=", agentAdmin+a.Index), "--admin-bind-address=127.0.0.1",
	}})
	if err != nil {
		return err
	}
	a.Process = process
	if a.Index == 0 {
		l.Agent = process
	}
	return nil
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
	return a.lab.Shoot.metrics(ctx, fmt.Sprintf("http://127.0.0.1:%d/metrics", agentHealth+a.Index))
}
