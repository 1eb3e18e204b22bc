// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// slow is the median from which dials are warned of.
	slow = time.Second
	// timingLimit bounds all tries of one kind.
	timingLimit = 3 * time.Second
)

// Times are those of several tries, in seconds.
type Times struct {
	Tries  int     `json:"tries"`
	Failed int     `json:"failed"`
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

// measure calls try several times, one after the other, until ctx or the limit ends.
func measure(ctx context.Context, try func(ctx context.Context, n int) bool) *Times {
	ctx, cancel := context.WithTimeout(ctx, timingLimit)
	defer cancel()
	var took []time.Duration
	t := &Times{}
	for n := 0; n < tries && ctx.Err() == nil; n++ {
		began := time.Now()
		ok := try(ctx, n)
		if !ok && ctx.Err() != nil && n > 0 {
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

// String says the times in words.
func (t *Times) String() string {
	if t.Tries == t.Failed {
		return fmt.Sprintf("none of %d tries succeeded", t.Tries)
	}
	at := func(s float64) string { return seconds(time.Duration(s * float64(time.Second))) }
	text := fmt.Sprintf("%s to %s, median %s, of %d", at(t.Min), at(t.Max), at(t.Median), t.Tries)
	if t.Failed > 0 {
		text += fmt.Sprintf(", of which %d failed", t.Failed)
	}
	return text
}

// timing measures round trips to the agents of paths, and dials of to if it is valid.
// Both use the paths in turn.
func (c *checker) timing(ctx context.Context, paths []*path, to *destination) []Step {
	round := func(ctx context.Context, n int) bool { return paths[n%len(paths)].askAgent(ctx) == nil }
	var steps []Step
	add := func(step Step, what string, t *Times) {
		step.Name, step.Result, step.Times = StepTiming, OK, t
		step.Found = what + ": " + t.String()
		switch {
		case t.Failed > 0:
			step.Result, step.Cause = Warning, CauseSlow
			step.Next = "it works at times only. Look at the sidecar's log for the reasons, and at the agents: one of several may be broken."
		case t.Median >= slow.Seconds():
			step.Result, step.Cause = Warning, CauseSlow
			step.Next = "look at the CPU of proxy-server and agent, and at the network between them. The round trip to the agent shows whether the target is the slow part."
		}
		steps = append(steps, step)
	}
	if paths = withAgent(paths); len(paths) > 0 {
		add(Step{}, "round trips to the agent", measure(ctx, round))
	}
	if to != nil {
		ways := to.ways
		add(Step{Target: to.addr.String()}, "dials", measure(ctx, func(ctx context.Context, n int) bool {
			conn, err := ways[n%len(ways)].dialer.DialOnce(ctx, to.addr)
			if err != nil {
				return false
			}
			_ = conn.Close()
			return true
		}))
	}
	return steps
}

func withAgent(paths []*path) []*path {
	return slices.DeleteFunc(slices.Clone(paths), func(p *path) bool { return !p.agent })
}
