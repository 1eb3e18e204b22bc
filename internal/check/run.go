// SPDX-License-Identifier: Apache-2.0

package check

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
)

// checker is one check under way.
type checker struct {
	Config
	work sync.WaitGroup // counts goroutines that outlive the step that has started them

	mu     sync.Mutex // guards closes
	closes [2][]func() error
}

// The places in checker.closes: all of the first are called before the second. A Dialer
// may be closed only when its connections are, and each tunnel is one.
const (
	closeTunnels = iota
	closeDialers
)

func defaultResolver() resolver { return net.DefaultResolver }

// closing has f called at the end.
func (c *checker) closing(place int, f func() error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closes[place] = append(c.closes[place], f)
}

// end ends the connections that are left. That can take some seconds: an abandoned dial
// waits for its answer, because upstream's server leaks the target's connection otherwise.
func (c *checker) end() {
	for _, closes := range c.closes {
		var all sync.WaitGroup
		for _, f := range closes {
			all.Go(func() { _ = f() })
		}
		all.Wait()
	}
	c.work.Wait()
}

// Run walks all steps. The caller calls end when the report has been shown, and before the
// process ends.
func Run(ctx context.Context, cfg Config) (result *report.Report, end func()) {
	c := &checker{Config: cfg.withDefaults()}
	ctx, cancel := context.WithTimeout(ctx, limit)
	result = &report.Report{Version: c.Version, Checked: c.now(), Configuration: c.Origin}
	for _, t := range c.Targets {
		result.Targets = append(result.Targets, t.Text)
	}
	result.Steps = c.steps(ctx)
	result.Finish()
	return result, func() {
		cancel()
		c.end()
	}
}

// steps returns all steps in their order.
func (c *checker) steps(ctx context.Context) []report.Step {
	steps := []report.Step{c.configuration(), c.sidecar()}
	if c.CIDRs == nil {
		because := report.StepSidecar
		if c.Sidecar.runs() {
			because = report.StepConfiguration
		}
		return complete(steps, c.names(), because)
	}
	all, found := c.destinations(ctx)
	steps = append(steps, found...)
	if len(c.Targets) > 0 && len(all) == 0 {
		return complete(steps, c.names(), report.StepDestination)
	}
	var redirect []report.Step
	var work sync.WaitGroup
	work.Go(func() { redirect = c.redirect(ctx) })
	files := c.files()
	paths, walked := c.paths(ctx, files)
	if clock, ok := c.clock(files, paths); ok {
		if clock.Result == report.Failure {
			excuse(files.steps)
			excuse(walked)
		}
		walked = append(walked, clock)
	}
	ways := paths
	throughExits, exits := c.exits(ctx, paths)
	if len(throughExits) > 0 {
		ways = throughExits
	} else if c.Exits.Enabled() && c.Exits.Required {
		ways = nil
	}
	reached, dials := c.dial(ctx, ways, all)
	walked = collect(walked, paths) // dials may have corrected steps of their paths
	tolerate(walked, paths)
	steps[1] = c.readyAgain(ctx, steps[1], paths, len(throughExits) > 0)
	steps = append(append(append(steps, files.steps...), walked...), append(exits, dials...)...)
	answers := make([]report.Step, len(reached))
	for i, to := range reached {
		work.Go(func() { answers[i] = c.answer(ctx, to) })
	}
	work.Wait()
	steps = append(append(steps, redirect...), answers...)
	var first *destination
	if len(reached) > 0 {
		first = &reached[0]
	}
	steps = append(steps, c.timing(ctx, paths, first)...)
	if c.Suspects {
		steps = append(steps, c.suspects(ctx, paths)...)
	}
	c.failedLately(steps)
	return complete(steps, c.names(), "")
}

// names returns the names of the steps that this check has.
func (c *checker) names() []string {
	return slices.DeleteFunc(report.Steps(), func(name string) bool {
		switch name {
		case report.StepDestination, report.StepDial, report.StepAnswer:
			return len(c.Targets) == 0
		case report.StepSuspects:
			return !c.Suspects
		case report.StepExit:
			return !c.Exits.Enabled()
		default:
			return false
		}
	})
}

// configuration returns the step about where the configuration comes from.
func (c *checker) configuration() report.Step {
	step := report.Step{Name: report.StepConfiguration, Result: report.OK}
	if c.CIDRs == nil {
		step.Result, step.Found = report.Skipped, "there is none: no sidecar was found to ask, and no flags are given"
		if c.Sidecar.runs() {
			step.Result, step.Cause = report.Failure, report.CauseNotAnswering
			step.Found = "a sidecar runs, but its configuration is not known: " + c.Sidecar.silence(c.Sidecar.admin, c.Sidecar.adminErr)
			step.Next = "give this command the sidecar's flags, or the sidecar its admin address"
		}
		return step
	}
	var servers []string
	for _, s := range c.Servers {
		servers = append(servers, fmt.Sprintf("%s (%s)", s.Name, s.Mode))
	}
	step.Found = fmt.Sprintf("%s; servers: %s; CIDRs: %s", c.Origin, join(servers, maxAddresses), list(c.CIDRs.Shoot(), maxAddresses))
	if x := c.CIDRs.Excluded(); len(x) > 0 {
		step.Found += " without " + list(x, maxAddresses)
	}
	if empty := c.CIDRs.EmptyLists(); len(empty) > 0 {
		step.Result, step.Cause = report.Warning, report.CauseOutside
		step.Found += fmt.Sprintf("; %s leaves nothing of %s", c.Names.ExcludeCIDR, join(empty, maxAddresses))
		step.Next = "exclude less, or leave out " + empty[0]
	}
	return step
}

// collect returns the steps of all paths as they are now, in the place of the copies in
// steps.
func collect(steps []report.Step, paths []*path) []report.Step {
	current := map[[3]string]report.Step{}
	for _, p := range paths {
		for _, s := range p.steps {
			current[[3]string{s.Name, s.Server, s.Address}] = s
		}
	}
	for i, s := range steps {
		if s.Name != report.StepAgent {
			continue
		}
		if now, ok := current[[3]string{s.Name, s.Server, s.Address}]; ok {
			steps[i] = now
		}
	}
	return steps
}

// tolerate makes warnings of the failures of paths, if another path works: dials use that.
func tolerate(steps []report.Step, paths []*path) {
	works := slices.ContainsFunc(paths, func(p *path) bool { return p.agent })
	if !works {
		return
	}
	for i := range steps {
		if s := &steps[i]; s.Result == report.Failure && s.Name != report.StepClock {
			s.Result = report.Warning
			s.Found += ". Dials use another server or address meanwhile"
		}
	}
}

// needs says on which steps a step depends, the nearest last.
var needs = map[string][]string{
	report.StepSidecar:     {report.StepConfiguration},
	report.StepDestination: {report.StepConfiguration},
	report.StepRedirect:    {report.StepConfiguration, report.StepSidecar, report.StepDestination},
	report.StepFiles:       {report.StepConfiguration, report.StepDestination},
	report.StepName:        {report.StepConfiguration, report.StepDestination},
	report.StepConnect:     {report.StepConfiguration, report.StepDestination, report.StepName},
	report.StepTLS:         {report.StepConfiguration, report.StepDestination, report.StepName, report.StepConnect},
	report.StepClock:       {report.StepConfiguration, report.StepDestination, report.StepName, report.StepConnect},
	report.StepMode:        {report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS},
	report.StepAgent:       {report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS, report.StepMode},
	report.StepExit:        {report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS, report.StepMode},
	report.StepDial:        {report.StepExit, report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS, report.StepMode, report.StepAgent},
	report.StepAnswer:      {report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS, report.StepMode, report.StepAgent, report.StepDial},
	report.StepTiming:      {report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS, report.StepMode, report.StepAgent},
	report.StepSuspects:    {report.StepDestination, report.StepName, report.StepConnect, report.StepFiles, report.StepClock, report.StepTLS, report.StepMode, report.StepAgent},
}

// complete adds a skipped step for each name without a step, and sorts. because is the
// step that has ended the check early, or empty.
func complete(steps []report.Step, names []string, because string) []report.Step {
	failed := map[string]bool{}
	for _, s := range steps {
		failed[s.Name] = failed[s.Name] || s.Result == report.Failure
	}
	for _, name := range names {
		if slices.ContainsFunc(steps, func(s report.Step) bool { return s.Name == name }) {
			continue
		}
		skipped := report.Step{Name: name, Result: report.Skipped, Found: noSuch(name)}
		for _, other := range needs[name] {
			if failed[other] {
				skipped.Found = "step " + other + " failed"
				break
			}
		}
		if because != "" {
			skipped.Found = "step " + because + " failed"
		}
		steps = append(steps, skipped)
	}
	order := report.Steps()
	slices.SortStableFunc(steps, func(a, b report.Step) int {
		return cmp.Compare(slices.Index(order, a.Name), slices.Index(order, b.Name))
	})
	return steps
}

// noSuch says why there is no such step although none before it failed.
func noSuch(name string) string {
	switch name {
	case report.StepName, report.StepTLS, report.StepClock:
		return "a Unix socket has no name, no TLS and no certificate"
	default:
		return "there was nothing to look at"
	}
}

func join(all []string, most int) string {
	texts := make([]textOf, 0, len(all))
	for _, s := range all {
		texts = append(texts, textOf(s))
	}
	return list(texts, most)
}

type textOf string

// String returns the text.
func (t textOf) String() string { return string(t) }
