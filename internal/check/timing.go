// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
)

const (
	// slow is the median from which dials are warned of.
	slow = time.Second
	// timingLimit bounds all tries of one kind but the first, which shows that it works.
	timingLimit = 3 * time.Second
)

// measure calls try several times, one after the other, until ctx or limit ends. limit
// does not end the first call: a slow answer is not a missing one.
func measure(ctx context.Context, limit time.Duration, try func(ctx context.Context, n int) bool) *report.Times {
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var took []time.Duration
	t := &report.Times{}
	for n := 0; n < tries && (n == 0 || limited.Err() == nil); n++ {
		began := time.Now()
		of := limited
		if n == 0 {
			of = ctx
		}
		ok := try(of, n)
		if !ok && limited.Err() != nil && n > 0 {
			break // the limit has ended it
		}
		t.Tries++
		if !ok {
			t.Failed++
			continue
		}
		took = append(took, time.Since(began))
	}
	if len(took) == 0 {
		return t
	}
	slices.Sort(took)
	t.Min, t.Median, t.Max = took[0].Seconds(), took[len(took)/2].Seconds(), took[len(took)-1].Seconds()
	return t
}

// timing measures round trips to the agents of paths, and dials of to if it is not nil.
// Both use the paths in turn. What is wrong with the round trips is not said of the dials
// again.
func (c *checker) timing(ctx context.Context, paths []*path, to *destination) []report.Step {
	var steps []report.Step
	if paths = withAgent(paths); len(paths) > 0 {
		what := "round trips to the agent"
		if paths[0].standard {
			what = "round trips to the proxy"
		}
		steps = append(steps, judgeTimes(report.Step{}, what, measure(ctx, timingLimit, func(ctx context.Context, n int) bool {
			return paths[n%len(paths)].askAgent(ctx) == nil
		})))
	}
	if to == nil || len(steps) > 0 && steps[0].Result == report.Failure {
		return steps
	}
	dials := judgeTimes(report.Step{Target: to.addr.String()}, "dials", measure(ctx, timingLimit, func(ctx context.Context, n int) bool {
		conn, err := to.ways[n%len(to.ways)].target.DialOnce(ctx, to.addr)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	}))
	if len(steps) > 0 && steps[0].Result == dials.Result && dials.Result == report.Warning {
		dials.Result, dials.Cause, dials.Next = report.OK, "", ""
	}
	return append(steps, dials)
}

// judgeTimes completes a step about times.
func judgeTimes(step report.Step, what string, t *report.Times) report.Step {
	step.Name, step.Result, step.Times = report.StepTiming, report.OK, t
	step.Found = what + ": " + t.String()
	switch {
	case t.Failed == t.Tries:
		step.Result, step.Cause = report.Failure, report.CauseAgentSilent
		step.Found += ", although the first one did"
		step.Next = "check again. If this step fails again, look at the agents: does one of several hang?"
	case t.Failed > 0:
		step.Result, step.Cause = report.Warning, report.CauseSlow
		step.Next = "look at the sidecar's log for the reasons, and at the agents: one of several may be broken"
	case t.Median >= slow.Seconds():
		step.Result, step.Cause = report.Warning, report.CauseSlow
		step.Next = "look at the CPU of proxy-server and agent, and at the network between them"
		if step.Target != "" {
			step.Next = "look at the target and its node: the round trips to the agent are not slow"
		}
	}
	return step
}

func withAgent(paths []*path) []*path {
	return slices.DeleteFunc(slices.Clone(paths), func(p *path) bool { return !p.agent })
}
