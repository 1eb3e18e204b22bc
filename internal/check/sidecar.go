// SPDX-License-Identifier: Apache-2.0

package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoot-proxy/proxy-client/internal/check/ask"
	"github.com/shoot-proxy/proxy-client/internal/check/report"
	"github.com/shoot-proxy/proxy-client/internal/clip"
	"github.com/shoot-proxy/proxy-client/internal/pause"
	"github.com/shoot-proxy/proxy-client/internal/serverconn"
	"github.com/shoot-proxy/proxy-client/internal/status"
	"github.com/shoot-proxy/proxy-client/internal/tunnel"
)

// Sidecar is what a running sidecar says of itself.
type Sidecar struct {
	admin, health string // where it was asked; admin may be empty
	adminErr      error  // why there are no documents; nil if there are
	// Configuration is nil if the admin address has not answered.
	Configuration *status.Configuration

	state    *status.State
	failures *status.Failures
	live     bool
	liveErr  error
	ready    string // what it says of its readiness; empty if it is ready
}

// errAnotherProgram is the error of an admin address where something answers in JSON that
// is not a sidecar's configuration.
var errAnotherProgram = errors.New("another program has this address")

// Ask asks the admin address, which may be empty, for the documents of a running sidecar.
func Ask(ctx context.Context, admin string) *Sidecar {
	s := &Sidecar{admin: admin}
	if admin == "" {
		s.adminErr = errors.New("it is turned off")
		return s
	}
	s.Configuration, s.adminErr = ask.Document[status.Configuration](ctx, admin, "/configuration")
	if s.adminErr == nil && s.Configuration.Instance == "" {
		s.adminErr = errAnotherProgram
	}
	if s.adminErr != nil {
		s.Configuration = nil
		return s
	}
	var work sync.WaitGroup
	work.Go(func() { s.state, _ = ask.Document[status.State](ctx, admin, "/state") })
	work.Go(func() { s.failures, _ = ask.Document[status.Failures](ctx, admin, "/failures") })
	work.Wait()
	return s
}

// AskHealth asks the health address, host:port or :port, whether the sidecar is alive and
// ready.
func (s *Sidecar) AskHealth(ctx context.Context, health string) {
	s.health = health
	host, port, err := net.SplitHostPort(health)
	if err != nil {
		s.liveErr = err
		return
	}
	hosts := []string{host}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		hosts = []string{"127.0.0.1", "::1"}
	}
	for _, h := range hosts {
		base := "http://" + net.JoinHostPort(h, port)
		code, _, err := ask.Text(ctx, base+"/livez")
		if err != nil {
			if s.liveErr == nil {
				s.liveErr = err
			}
			if serverconn.TimedOut(err) {
				return // the other address would take as long
			}
			continue
		}
		s.live = code == http.StatusOK
		if !s.live {
			s.liveErr = fmt.Errorf("%s/livez answers with status %d", base, code)
			return
		}
		s.liveErr = nil
		if code, body, err := ask.Text(ctx, base+"/readyz"); err == nil && code != http.StatusOK {
			s.ready = strings.TrimPrefix(strings.TrimSpace(body), "not ready: ")
		}
		return
	}
}

// runs reports whether a sidecar has answered.
func (s *Sidecar) runs() bool { return s.live || s.Configuration != nil }

// full is the part of a limit from which it counts as reached.
const full = 0.95

// sidecar returns the step about the running sidecar.
func (c *checker) sidecar() report.Step {
	s := c.Sidecar
	step := report.Step{Name: report.StepSidecar, Result: report.OK}
	if !s.runs() && (serverconn.TimedOut(s.adminErr) || serverconn.TimedOut(s.liveErr)) {
		step.Result, step.Cause = report.Failure, report.CauseNotAnswering
		step.Found = fmt.Sprintf("a sidecar runs, and does not answer: it hangs, or has no processor time: %s%s", s.silence(s.admin, s.adminErr), s.andHealth())
		step.Next = "look at the CPU limit of the container proxy-client, and at its log. If it stays so, replace the pod."
		return step
	}
	if !s.runs() {
		step.Result, step.Cause = report.Failure, report.CauseNotRunning
		step.Found = fmt.Sprintf("no sidecar runs in this pod: %s%s", s.silence(s.admin, s.adminErr), s.andHealth())
		step.Next = "see why the container proxy-client does not run: kubectl describe pod POD, and kubectl logs POD -c proxy-client --previous"
		if c.CIDRs == nil {
			step.Next += ". To check without a sidecar, give this command its flags."
		} else if !c.NeedsSidecar {
			step.Result = report.Warning
		}
		return step
	}
	if s.Configuration != nil && !s.live && s.health != "" {
		step.Result, step.Cause = report.Failure, report.CauseNotRunning
		step.Found = fmt.Sprintf("the sidecar answers on %s, but is not alive: %s", s.admin, clip.Text(fmt.Sprint(s.liveErr), clip.Clause))
		step.Next = "look at kubectl logs POD -c proxy-client"
		return step
	}
	step.Found = "alive, ready"
	if s.ready != "" {
		step.Found = "alive, but not ready: " + clip.Text(s.ready, clip.Clause)
	}
	if s.ready == "draining" {
		step.Result, step.Cause = report.Failure, report.CauseDraining
		step.Found = "the sidecar is ending (draining), and takes no new connections"
		step.Next = "wait until the pod has been replaced"
		return step
	}
	if s.state == nil {
		if s.admin != "" {
			step.Found += "; of its admin address: " + s.silence(s.admin, s.adminErr)
		}
		return step
	}
	return c.judgeState(step)
}

// judgeState completes the step with what the sidecar counts. What is wrong comes first.
func (c *checker) judgeState(step report.Step) report.Step {
	st := c.Sidecar.state
	step.Found = fmt.Sprintf("%s; version %s, started %s ago, %d of %d connections open, %s of %s held for apps", step.Found,
		c.Sidecar.Configuration.Version, span(st.Now.Sub(st.Started)), st.Open, st.MaxConnections, mebibytes(st.HeldBytes), mebibytes(st.TotalBuffer))
	for _, t := range c.Targets {
		if failed := c.recent(t.Text, historyAge); len(failed) > 0 {
			step.Found += fmt.Sprintf("; in the last %s it did not make these connections to %s: %s", span(historyAge), t.Text, reasons(failed))
		}
	}
	reset := c.recent("", time.Minute)[string(report.CauseMaxConnections)]
	wrong := func(result report.Result, cause report.Cause, found, next string) {
		step.Result, step.Cause, step.Found, step.Next = result, cause, found+". Besides: "+step.Found, next
	}
	findOpen := fmt.Sprintf("find the app that does not close its connections, or raise %s. The page on %s has all connections.", c.Names.MaxConnections, c.Sidecar.admin)
	switch {
	case st.MaxConnections > 0 && st.Open >= st.MaxConnections:
		wrong(report.Failure, report.CauseMaxConnections,
			fmt.Sprintf("%d connections are open, as many as may be (%s), so new ones are reset", st.Open, c.Names.MaxConnections), findOpen)
	case reset > 0:
		wrong(report.Warning, report.CauseMaxConnections,
			fmt.Sprintf("%d connections were reset in the last minute, because as many were open as may be (%s)", reset, c.Names.MaxConnections), findOpen)
	case st.TotalBuffer > 0 && float64(st.HeldBytes) >= full*float64(st.TotalBuffer):
		wrong(report.Failure, report.CauseBuffers,
			fmt.Sprintf("%s are held for apps that do not read, all that may be held (%s), so the connection that holds the most is reset", mebibytes(st.HeldBytes), c.Names.TotalBuffer),
			fmt.Sprintf("find the app that does not read, or raise %s and the container's memory. The page on %s has the bytes held for each connection.", c.Names.TotalBuffer, c.Sidecar.admin))
	}
	return step
}

// readyAgain returns the step about the sidecar as it is at the end. If the sidecar reached
// no server and this check does, the sidecar may have started just now, so it is asked
// again. If it still reaches none, that is a warning. exit says that this check reaches an
// exit.
func (c *checker) readyAgain(ctx context.Context, step report.Step, paths []*path, exit bool) report.Step {
	s := c.Sidecar
	if s.ready == "" || step.Result != report.OK || !slices.ContainsFunc(paths, func(p *path) bool { return p.usable }) {
		return step
	}
	for n := 0; n < readyTries && s.ready != "" && ctx.Err() == nil; n++ {
		pause.For(ctx, readyPause)
		s.ready = ""
		s.AskHealth(ctx, s.health)
	}
	step = c.sidecar()
	if s.ready != "" && step.Result == report.OK {
		step.Result, step.Cause = report.Warning, report.CauseNotReady
		switch lacks := s.lacksExit(ctx); {
		case lacks && exit:
			step.Next = "look at the sidecar's log: this check reaches an exit that the sidecar does not reach"
		case lacks:
			step.Next = "see step exit: the sidecar is ready again when an exit answers it"
		default:
			step.Next = "look at the sidecar's log: this check reaches a server that the sidecar does not reach"
		}
	}
	return step
}

// lacksExit asks the sidecar whether it reaches a server, and no exit although one is required.
func (s *Sidecar) lacksExit(ctx context.Context) bool {
	if s.state == nil {
		return false
	}
	state, err := ask.Document[status.State](ctx, s.admin, "/state")
	return err == nil && state.Exits != nil && state.Exits.Required && !state.Exits.Answers &&
		slices.ContainsFunc(state.Servers, func(server status.Server) bool { return server.Up })
}

// The sidecar is asked so often whether it is ready, with so long a pause in between.
const (
	readyTries = 5
	readyPause = 200 * time.Millisecond
)

// recent counts the failures of the last time, by reason. destination may be empty for all.
func (c *checker) recent(destination string, age time.Duration) map[string]int {
	counts := map[string]int{}
	if c.Sidecar.failures == nil {
		return counts
	}
	for _, f := range c.Sidecar.failures.Failures {
		if (destination == "" || f.Destination == destination) && c.Sidecar.failures.Now.Sub(f.Time) <= age {
			counts[f.Reason] += max(f.Times, 1)
		}
	}
	return counts
}

const (
	// historyAge is how old failures may be that are told of.
	historyAge = 15 * time.Minute
	// lately is how old failures may be that are a warning although a dial succeeds now.
	lately = 2 * time.Minute
)

// failedLately makes warnings of dials that succeed now, if the sidecar's own have failed a
// moment ago. If there is another failure, that is the cause.
func (c *checker) failedLately(steps []report.Step) {
	if anyFailed(steps) {
		return
	}
	for i := range steps {
		s := &steps[i]
		if s.Name != report.StepDial || s.Result != report.OK {
			continue
		}
		failed := c.recent(s.Target, lately)
		for _, reason := range []string{string(tunnel.ReasonCancelled), string(report.CauseMaxConnections), string(report.CauseOutside)} {
			delete(failed, reason) // they say nothing about the way to the target
		}
		if len(failed) > 0 {
			s.Result, s.Cause = report.Warning, report.CauseRecent
			s.Found = fmt.Sprintf("it works now, but in the last %s the sidecar did not make these connections: %s", span(lately), reasons(failed))
			s.Next = "look at the sidecar's log for these connections, and check again with --watch"
		}
	}
}

// reasons says how often there was each reason.
func reasons(counts map[string]int) string {
	var all []string
	for _, reason := range slices.Sorted(maps.Keys(counts)) {
		all = append(all, fmt.Sprintf("%d with reason %s", counts[reason], reason))
	}
	return join(all, maxAddresses)
}

// silence says that nothing answers at an address.
func (s *Sidecar) silence(address string, err error) string {
	switch {
	case address == "":
		return "there is no admin address to ask"
	case errors.Is(err, unix.ECONNREFUSED):
		return "nothing listens on " + address
	case errors.Is(err, errAnotherProgram):
		return fmt.Sprintf("no sidecar answers on %s (%s)", address, err)
	case serverconn.TimedOut(err):
		return fmt.Sprintf("%s has not answered within %s", address, report.Seconds(ask.Timeout))
	default:
		return fmt.Sprintf("%s does not answer (%s)", address, clip.Text(fmt.Sprint(err), clip.Words))
	}
}

func (s *Sidecar) andHealth() string {
	if s.health == "" {
		return ""
	}
	return ", and " + s.silence(s.health, s.liveErr)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20)) }
