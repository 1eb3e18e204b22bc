// SPDX-License-Identifier: Apache-2.0

package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/konnectivity"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// dialled is the result of one dial through one path.
type dialled struct {
	path *path
	took time.Duration
	err  *tunnel.Error
}

// dial dials each destination through each path that may have an agent. It returns the
// steps, and the destinations with the ways that lead there.
func (c *checker) dial(ctx context.Context, paths []*path, all []destination) ([]destination, []report.Step) {
	paths = slices.DeleteFunc(slices.Clone(paths), func(p *path) bool { return !p.dials() })
	results := make([][]dialled, len(all))
	var work sync.WaitGroup
	for i, to := range all {
		results[i] = make([]dialled, len(paths))
		for j, p := range paths {
			work.Go(func() { results[i][j] = p.dialTarget(ctx, to) })
		}
	}
	work.Wait()
	var reached []destination
	var steps []report.Step
	for i, to := range all {
		for _, r := range results[i] {
			if r.err == nil {
				to.ways = append(to.ways, r.path)
			}
			if r.err == nil || aboutTarget(r.err) {
				r.path.servesAddress(to.addr)
			}
		}
		steps = append(steps, c.dialSteps(to, results[i])...)
		if len(to.ways) > 0 {
			reached = append(reached, to)
		}
	}
	return reached, steps
}

// dials reports whether a dial through p may succeed: an agent has answered, or the server
// has none for any address.
func (p *path) dials() bool {
	return p.usable && (p.agent || slices.ContainsFunc(p.steps, func(s report.Step) bool {
		return s.Name == report.StepAgent && (s.Cause == report.CauseOnlyNames || s.Cause == report.Cause(tunnel.ReasonNoAgent))
	}))
}

func (p *path) dialTarget(ctx context.Context, to destination) dialled {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	conn, err := p.target.DialOnce(ctx, to.addr)
	took := time.Since(began)
	if err == nil {
		_ = conn.Close()
	}
	return dialled{p, took, err}
}

// aboutTarget reports whether the error of a dial is an agent's answer.
func aboutTarget(err *tunnel.Error) bool {
	return err.Fault == tunnel.FaultTarget && err.Reason != tunnel.ReasonCancelled && err.Reason != tunnel.ReasonProtocol
}

// dialSteps returns the steps about the dials of one destination. Paths with the same
// failure share a step.
func (c *checker) dialSteps(to destination, results []dialled) []report.Step {
	var steps []report.Step
	failures := map[report.Cause][]dialled{}
	var order []report.Cause
	for _, r := range results {
		if r.err == nil {
			steps = append(steps, report.Step{
				Name: report.StepDial, Target: to.addr.String(), Server: r.path.server.Name, Address: r.path.address(), Result: report.OK, Seconds: r.took.Seconds(),
				Found: fmt.Sprintf("connected in %s, through %s", report.Seconds(r.took), r.path.address()),
			})
			continue
		}
		if !r.path.agent && r.err.Reason == tunnel.ReasonNoAgent {
			continue // step agent has said so
		}
		cause := causeOf(r.err)
		if failures[cause] == nil {
			order = append(order, cause)
		}
		failures[cause] = append(failures[cause], r)
	}
	served := len(steps) > 0
	for _, cause := range order {
		step := c.dialFailure(to, failures[cause])
		if served {
			step.Result = report.Warning
		}
		steps = append(steps, step)
	}
	return steps
}

// dialFailure returns the step about dials that failed for one reason.
func (c *checker) dialFailure(to destination, failed []dialled) report.Step {
	first := failed[0]
	step := report.Step{
		Name: report.StepDial, Target: to.addr.String(), Server: first.path.server.Name, Address: first.path.address(),
		Result: report.Failure, Cause: causeOf(first.err), Seconds: first.took.Seconds(),
	}
	through := "through " + first.path.address()
	if len(failed) > 1 {
		through = fmt.Sprintf("through each of %d addresses", len(failed))
	}
	said := fmt.Sprintf("(%s, after %s, %s)", clip.Text(first.err.Err.Error(), clip.Clause), report.Seconds(first.took), through)
	switch {
	case first.path.isExit() && first.err.Fault != tunnel.FaultTarget:
		step.Found = "the exit did not make the connection " + said
		step.Next = cmp.Or(first.err.Next, "look at the exit's log")
	case first.err.Reason == tunnel.ReasonRefused:
		step.Found = "the tunnel works, and the target refuses the connection: nothing listens on its port " + said
		step.Next = "see whether the target's process runs and listens on this address and port"
	case first.err.Reason == tunnel.ReasonForbidden && first.path.isExit():
		step.Found = "the exit works, and forbids this client the target " + said
		step.Next = fmt.Sprintf("allow the target in the exit's policy, for the identity in %s, if the app may reach it", c.Names.ExitClientCert)
	case first.err.Reason == tunnel.ReasonUnreachable && first.path.isExit():
		step.Found = "the tunnel works, and the exit has no way to the target " + said
		step.Next = "check whether the address still exists in the shoot, and whether a firewall or NetworkPolicy of the shoot forbids it to the exit"
	case first.path.standard:
		step.Found = "the proxy answers, and the target was not reached " + said
		step.Next = first.err.Next
		if step.Next == "" {
			step.Next = "look at the log of the proxy"
		}
	case first.err.Reason == tunnel.ReasonUnreachable:
		step.Found = "the tunnel works, and the agent has no way to the target " + said
		step.Next = "check whether the address still exists in the shoot, and whether a firewall of the shoot forbids it to the agent"
	case first.err.Reason == tunnel.ReasonTimeout && errors.Is(first.err.Err, konnectivity.ErrGaveUp):
		step.Found = fmt.Sprintf("an agent answers other dials at once, and has not answered this one within %s, %s", report.Seconds(first.took), through)
		step.Next = targetHangs
	case first.err.Reason == tunnel.ReasonTimeout:
		step.Found = "the tunnel works, and the target does not answer " + said
		step.Next = cmp.Or(first.err.Next, targetHangs)
	case first.err.Reason == tunnel.ReasonNoAgent:
		step.Found = "the server has an agent, but finds none for this address " + said
		step.Next = "look at the server's --proxy-strategies, and at what the agents register"
	default:
		step.Found = "the dial failed " + said
		step.Next = cmp.Or(first.err.Next, "look at the logs of proxy-server and agent")
	}
	return step
}

const targetHangs = "see whether the target's node is up, and whether a NetworkPolicy or firewall of the shoot drops connections from the agent"
