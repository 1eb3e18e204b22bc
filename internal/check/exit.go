// SPDX-License-Identifier: Apache-2.0

package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/cure"
	"github.com/shoot-proxy/proxy-client/internal/exitway"
	"github.com/shoot-proxy/proxy-client/internal/regularfile"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// exitTrial is the result of one tunnel to an exit through one path.
type exitTrial struct {
	by     *path
	tunnel *exitway.Tunnel
	took   time.Duration
	err    *tunnel.Error
}

// exits opens a tunnel to each exit through each path. It returns the ways through exits, as
// paths on which a dial goes through an exit, and the steps.
func (c *checker) exits(ctx context.Context, paths []*path) ([]*path, []report.Step) {
	if !c.Exits.Enabled() {
		return nil, nil
	}
	paths = slices.DeleteFunc(slices.Clone(paths), func(p *path) bool { return !p.usable })
	if len(paths) == 0 {
		return nil, nil // the steps about servers have said why
	}
	ctx, cancel := context.WithTimeout(ctx, exitTimeout)
	defer cancel()
	trials := make([][]exitTrial, len(c.Exits.Targets))
	var work sync.WaitGroup
	for i, target := range c.Exits.Targets {
		trials[i] = make([]exitTrial, len(paths))
		for j, p := range paths {
			work.Go(func() {
				began := time.Now()
				made, err := exitway.Open(ctx, c.Exits, target, c.Names, p.dialer)
				trials[i][j] = exitTrial{p, made, time.Since(began), err}
			})
		}
	}
	work.Wait()
	var ways []*path
	var steps []report.Step
	for i, target := range c.Exits.Targets {
		for _, t := range trials[i] {
			if t.err == nil {
				c.closing(closeTunnels, t.tunnel.Close)
				t.by.servesExit(target, c.Exits.Required)
				ways = append(ways, &path{
					c: c, server: tunnel.Server{Name: "exit " + target.String(), Address: "exit " + target.String()}, target: t.tunnel, usable: true, agent: true,
				})
			}
		}
	}
	for i, target := range c.Exits.Targets {
		steps = append(steps, c.exitStep(target, trials[i], len(ways) > 0))
	}
	return ways, steps
}

// exitStep returns the step about one exit. served says that any exit serves.
func (c *checker) exitStep(target tunnel.HostPort, trials []exitTrial, served bool) report.Step {
	step := report.Step{Name: report.StepExit, Target: target.String(), Result: report.OK}
	var made, failed []exitTrial
	for _, t := range trials {
		if t.err == nil {
			made = append(made, t)
		} else {
			failed = append(failed, t)
		}
	}
	if len(made) > 0 {
		first := made[0]
		chain := first.tunnel.Certificates()
		step.Seconds, step.Certificates = first.took.Seconds(), describeAll(chain)
		step.Found = fmt.Sprintf("a tunnel through %s in %s; its certificate %s of %s %s", first.by.address(), report.Seconds(first.took),
			title(chain[0]), issuer(chain[0]), dates(chain[0], c.now()))
		if limit := first.tunnel.Limit(); limit > 0 {
			step.Found += fmt.Sprintf("; it allows %d connections on a tunnel", limit)
		}
		for _, cert := range chain {
			if validityAt(cert, c.now()) == expiresSoon {
				step.Result, step.Cause, step.Next = report.Warning, report.CauseExpires, "renew the exit's certificate "+title(cert)
			}
		}
		c.exitIdentity(&step)
	}
	if len(failed) == 0 {
		return step
	}
	why := failed[0].err
	said := fmt.Sprintf("no tunnel through %s: %s", failed[0].by.address(), clip.Text(why.Err.Error(), clip.Sentence))
	step.Next, step.Cause = cmp.Or(why.Next, cure.NotMade(string(why.Reason))), causeOf(why)
	switch {
	case len(made) > 0:
		step.Result, step.Found = report.Warning, step.Found+". But "+said
	case served:
		step.Result, step.Found = report.Warning, said+". Connections use the other exits meanwhile"
	default:
		step.Result, step.Found = report.Warning, said+". "+c.withoutExits()
		if c.Exits.Required {
			step.Result = report.Failure
		}
	}
	if step.Next == "" {
		step.Next = "look at the logs of exit, proxy-server and agent"
	}
	return step
}

// withoutExits says what becomes of connections while this check can make a tunnel to no exit.
func (c *checker) withoutExits() string {
	switch state := c.Sidecar.state; {
	case state != nil && state.Exits != nil && state.Exits.Answers:
		return "The running sidecar still has a tunnel to an exit, and connections use that"
	case c.Exits.Required:
		return "Connections fail meanwhile, because an exit is required"
	default:
		return "Connections go to their targets without an exit meanwhile"
	}
}

// exitIdentity adds to the step by which certificate the exit knows this client.
func (c *checker) exitIdentity(step *report.Step) {
	pair, _ := regularfile.Read(c.Exits.TLS.CertFile)
	chain := parse(pair)
	if len(chain) == 0 {
		return // it was replaced a moment ago
	}
	step.Found += fmt.Sprintf("; it knows this client as %s, which %s", title(chain[0]), dates(chain[0], c.now()))
	if validityAt(chain[0], c.now()) == expiresSoon {
		step.Result, step.Cause = report.Warning, report.CauseExpires
		step.Next = fmt.Sprintf("renew the certificate of %s in its Secret. The sidecar reads the file again by itself.", c.Names.ExitClientCert)
	}
}

// servesExit corrects the step about the agent after a tunnel to an exit was made: the server
// has an agent for the exit, although it has none for any address.
func (p *path) servesExit(target tunnel.HostPort, required bool) {
	for i := range p.steps {
		s := &p.steps[i]
		if s.Name != report.StepAgent || s.Result != report.Failure || s.Cause != report.Cause(tunnel.ReasonNoAgent) && s.Cause != report.CauseOnlyNames {
			continue
		}
		s.Found = fmt.Sprintf("the server finds an agent for the exit %s, but not for any IP address: it looks for agents by registered hosts only (its flag --proxy-strategies=destHost)", target)
		s.Result, s.Cause, s.Next = report.OK, "", ""
		if !required {
			s.Result, s.Cause = report.Warning, report.CauseOnlyNames
			s.Next = fmt.Sprintf("set %s=require: without an exit no connection can be made through this server", p.c.Names.ExitPolicy)
		}
	}
}

// isExit reports whether p goes through an exit.
func (p *path) isExit() bool { return strings.HasPrefix(p.server.Name, "exit ") }
