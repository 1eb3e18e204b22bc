// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/h2proxy"
	"github.com/shoot-proxy/proxy-client/internal/httpsproxy"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// AgentAddress is dialled to find out whether there is an agent. The agent dials it on its
// own loopback device, where nothing listens on port 1 (tcpmux, RFC 1078), and answers that
// the connection was refused. That takes one round trip, and no packet leaves the agent's
// host. If a program does listen there, it sees a connection that is closed at once.
func AgentAddress() netip.AddrPort { return netip.MustParseAddrPort("127.0.0.1:1") }

// askAgent dials AgentAddress, and returns nil if an agent answers.
func (p *path) askAgent(ctx context.Context) *tunnel.Error {
	conn, err := p.dialer.DialOnce(ctx, AgentAddress())
	if err == nil {
		_ = conn.Close()
		return nil
	}
	if !errors.Is(err, httpsproxy.ErrSilent) && !errors.Is(err, h2proxy.ErrSilent) && err.Fault == tunnel.FaultTarget && err.Reason != tunnel.ReasonCancelled && err.Reason != tunnel.ReasonProtocol {
		return nil // an agent's own words
	}
	return err
}

// findAgent adds the step about the agent.
func (p *path) findAgent(ctx context.Context) {
	step := report.Step{Name: report.StepAgent, Result: report.OK}
	ctx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	began := time.Now()
	err := p.askAgent(ctx)
	took := time.Since(began)
	step.Seconds = took.Seconds()
	if err == nil {
		p.agent = true
		step.Found = "an agent answers, in " + report.Seconds(took)
		if p.standard {
			step.Found = "a standard proxy has no agents. It dials by itself, and answers in " + report.Seconds(took)
		}
		if h := p.hintsNow(); h.Agents > 0 {
			step.Found += fmt.Sprintf("; by its metrics the server has %s", h.Says())
		}
		p.add(step)
		return
	}
	step.Result, step.Cause, step.Found = report.Failure, causeOf(err), clip.Text(err.Err.Error(), clip.Clause)
	switch {
	case p.standard:
		step.Next = err.Next
		if step.Next == "" {
			step.Next = "look at the log of the proxy"
		}
	case err.Reason == tunnel.ReasonNoAgent:
		p.noAgent(&step)
	case err.Reason == tunnel.ReasonTimeout, errors.Is(err.Err, konnectivity.ErrGaveUp):
		step.Cause = report.CauseAgentSilent
		step.Found = fmt.Sprintf("the server has an agent, which has not answered within %s", report.Seconds(agentTimeout))
		if h := p.knownHints(); h.Reached && h.Agents == 0 {
			step.Found = fmt.Sprintf("no answer within %s, and by its metrics the server has no agent", report.Seconds(agentTimeout))
		}
		step.Next = "look at the agent in the shoot: does it hang, is its node overloaded, is its connection to the server cut? A new agent pod (kubectl delete pod) helps if it hangs."
	default:
		step.Next = "look at the log of the proxy-server"
	}
	p.add(step)
}

// noAgent completes the step about a server that finds no agent.
func (p *path) noAgent(step *report.Step) {
	h := p.knownHints()
	if h.Agents > 0 {
		step.Cause = report.CauseOnlyNames
		step.Found = fmt.Sprintf("by its metrics the server has %s, but finds none for an IP address: it looks for agents by registered hosts only (its flag --proxy-strategies=destHost)", h.Says())
		step.Next = "add default to the server's --proxy-strategies, or let the agents register the addresses (their flag --agent-identifiers=ipv4=…)"
		return
	}
	step.Found = "no agent is connected to this server"
	if h.Reached {
		step.Found += ", which its metrics confirm"
	}
	step.Next = "look at the agents in the shoot (kubectl -n kube-system get pods): do they run, and do they reach the server's port for agents, usually 8091? If kubectl logs does not reach them, because it needs an agent too, their node has their logs."
}

// servesAddress corrects the step about the agent after a dial of addr had an answer: the
// server has an agent for this address, although it has none for any.
func (p *path) servesAddress(addr netip.AddrPort) {
	for i := range p.steps {
		s := &p.steps[i]
		if s.Name == report.StepAgent && s.Result == report.Failure {
			s.Result, s.Cause = report.Warning, report.CauseOnlyNames
			s.Found = fmt.Sprintf("the server finds an agent for %s, but not for any IP address: it looks for agents by registered hosts only (its flag --proxy-strategies=destHost)", addr.Addr())
			s.Next = "add default to the server's --proxy-strategies if other addresses are needed too"
		}
	}
}
