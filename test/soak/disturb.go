// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// recoverWithin bounds how long the lab and the product may take to work again after a
// disturbance. It is a guard against hanging.
const recoverWithin = 3 * time.Minute

// follow runs the plan until its end, or until ctx ends.
func (s *site) follow(ctx context.Context, plan Plan) error {
	for _, step := range plan {
		if !sleep(ctx, step.Calm) {
			return ctx.Err()
		}
		if err := s.disturb(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

// String names a step's disturbances.
func (s Step) String() string {
	var all []string
	for _, d := range s.Disturbances {
		all = append(all, d.String())
	}
	return strings.Join(all, " with ")
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// disturb runs a step. It returns when all of it has been undone and everything works
// again.
func (s *site) disturb(ctx context.Context, step Step) error {
	var running sync.WaitGroup
	errs := make([]error, len(step.Disturbances))
	for i, d := range step.Disturbances {
		e := s.journal.begin(d)
		defer s.journal.end(e)
		running.Go(func() {
			errs[i] = s.do(ctx, d, func() { s.journal.strike(e) })
			s.journal.undo(e)
		})
	}
	running.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return s.recover(ctx)
}

// do runs one disturbance, calls struck when it has taken effect, and undoes it.
func (s *site) do(ctx context.Context, d Disturbance, struck func()) error {
	l := s.lab
	switch d.Kind {
	case KillServer:
		return s.killServers(ctx, d, struck, l.Servers[d.Index])
	case KillServers:
		return s.killServers(ctx, d, struck, l.Servers...)
	case KillAgent:
		return s.killAgents(ctx, d, struck, l.Agents[d.Index])
	case KillAgents:
		return s.killAgents(ctx, d, struck, l.Agents...)
	case FreezeServer:
		return freeze(ctx, d, struck, l.Servers[d.Index].Process)
	case FreezeAgent:
		return freeze(ctx, d, struck, l.Agents[d.Index].Process)
	case HideServer, HideServerFor:
		return fault(ctx, d, struck, l.Servers[d.Index].BlackHole)
	case PartPod, PartPodFor:
		return fault(ctx, d, struck, on(l.Partition, lab.PodLink))
	case PartShoot:
		return fault(ctx, d, struck, on(l.Partition, lab.ShootLink))
	case LosePod:
		return fault(ctx, d, struck, with(l.Loss, lab.PodLink, d.Level))
	case LoseShoot:
		return fault(ctx, d, struck, with(l.Loss, lab.ShootLink, d.Level))
	case NarrowPod:
		return fault(ctx, d, struck, with(l.Bandwidth, lab.PodLink, int(d.Level)))
	case NarrowShoot:
		return fault(ctx, d, struck, with(l.Bandwidth, lab.ShootLink, int(d.Level)))
	case DelayAgents:
		l.AgentDelay(time.Duration(d.Level * float64(time.Millisecond)))
		defer l.AgentDelay(0)
		sleep(ctx, d.For)
		return nil
	case SwapFiles:
		defer sleep(ctx, d.For)
		return s.swapFiles()
	case SpoilFiles:
		err := s.spoilFiles()
		sleep(ctx, d.For)
		return errors.Join(err, s.swapFiles())
	case ClockAhead, ClockBack:
		by := clockStep
		if d.Kind == ClockBack {
			by = -by
		}
		defer sleep(ctx, d.For)
		return s.clock.step(by)
	case PauseTarget:
		return s.pauseTarget(ctx, d, struck)
	case FewStreams:
		return s.allowFewStreams(ctx, d, struck)
	case KillExit, RestartExit, FreezeExit, SwapExitFiles, ChangePolicy, SpoilPolicy:
		return s.disturbExits(ctx, d, struck)
	}
	return fmt.Errorf("nobody knows how to do %q", d.Kind)
}

func on(f func(context.Context, lab.Link) (lab.Undo, error), link lab.Link) func(context.Context) (lab.Undo, error) {
	return func(ctx context.Context) (lab.Undo, error) { return f(ctx, link) }
}

func with[T any](f func(context.Context, lab.Link, T) (lab.Undo, error), link lab.Link, level T) func(context.Context) (lab.Undo, error) {
	return func(ctx context.Context) (lab.Undo, error) { return f(ctx, link, level) }
}

// fault disturbs a link for a while.
func fault(ctx context.Context, d Disturbance, struck func(), do func(context.Context) (lab.Undo, error)) error {
	undo, err := do(ctx)
	if err != nil {
		return err
	}
	struck()
	sleep(ctx, d.For)
	return undo()
}

// freeze stops a process for a while.
func freeze(ctx context.Context, d Disturbance, struck func(), p *lab.Process) error {
	if err := p.Freeze(); err != nil {
		return err
	}
	struck()
	sleep(ctx, d.For)
	return p.Thaw()
}

func (s *site) killServers(ctx context.Context, d Disturbance, struck func(), servers ...*lab.Server) error {
	for _, server := range servers {
		server.Kill()
	}
	struck()
	sleep(ctx, d.For)
	for _, server := range servers {
		if err := server.Start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) killAgents(ctx context.Context, d Disturbance, struck func(), agents ...*lab.Agent) error {
	for _, agent := range agents {
		agent.Kill()
	}
	struck()
	sleep(ctx, d.For)
	for _, agent := range agents {
		if err := agent.Start(); err != nil {
			return err
		}
	}
	return nil
}

// recover waits until everything works again. Servers and agents have found each other,
// the sidecar reaches all its servers, and connections succeed.
func (s *site) recover(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, recoverWithin)
	defer cancel()
	if err := lab.Poll(ctx, "the tunnel to stand again", s.lab.WaitTunnel); err != nil {
		return err
	}
	err := lab.Poll(ctx, "the sidecar to have its servers again", func(ctx context.Context) error {
		m, err := s.lab.SidecarMetrics(ctx)
		if err != nil {
			return err
		}
		if up := m.Sum("proxy_client_server_up"); up != float64(len(s.lab.Servers)) {
			return fmt.Errorf("%v servers are up", up)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return lab.Poll(ctx, "connections to succeed again", s.canaries)
}

// canaries makes some connections at once, so that more than one server gets some.
func (s *site) canaries(ctx context.Context) error {
	for _, o := range s.burstOf(ctx, "canary", 12) {
		if o.ending != cleanEnd || o.got != o.want {
			return fmt.Errorf("%s ended in %s after %d bytes of %d: %w", o, o.ending, o.got, o.want, o.err)
		}
	}
	return nil
}
