// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Config says what to run.
type Config struct {
	Seed     uint64
	Duration time.Duration // of the plan; setting up and the last checks need more time
	Plan     Plan          // instead of the seed's, if not empty
	Modes    []lab.Mode    // one lab each, all at once; both modes if empty
	Exit     bool          // everything goes through exits, which are disturbed as well
	Bin      string        // as lab.Options.Bin
	TestBin  string        // as lab.Options.TestBin
	Out      io.Writer     // progress and the summary
	LogDir   string        // where the logs of all processes are kept, if not empty
}

// ErrFindings is wrapped by Run's error if the product was wrong, as opposed to the lab.
var ErrFindings = errors.New("the soak has findings")

// exitWithin bounds the sidecar's exit. Without connections it has nothing to wait for.
const exitWithin = 30 * time.Second

// Run builds a lab for each mode and soaks all of them at once. It needs root. Its error
// is nil only if every check held. All labs are gone when Run returns.
func Run(ctx context.Context, cfg Config) error {
	if len(cfg.Modes) == 0 {
		cfg.Modes = []lab.Mode{lab.GRPC, lab.HTTPConnect}
	}
	out := &printer{out: cfg.Out, began: time.Now()}
	out.line("seed %d, %s, modes %v", cfg.Seed, cfg.Duration, cfg.Modes)
	defer out.line("seed %d", cfg.Seed)
	var all sync.WaitGroup
	errs := make([]error, len(cfg.Modes))
	for i, mode := range cfg.Modes {
		say := func(format string, args ...any) { out.line("%-12s "+format, append([]any{mode}, args...)...) }
		all.Go(func() { errs[i] = soak(ctx, cfg, mode, say) })
	}
	all.Wait()
	if left := lab.Leftovers(); len(left) != 0 {
		errs = append(errs, fmt.Errorf("left on the machine: %q", left))
	}
	return errors.Join(errs...)
}

// printer writes whole lines.
type printer struct {
	mu    sync.Mutex
	out   io.Writer
	began time.Time
}

func (p *printer) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%7s  %s\n", time.Since(p.began).Round(time.Second), fmt.Sprintf(format, args...))
}

// soak builds one lab, soaks it, and removes it.
func soak(ctx context.Context, cfg Config, mode lab.Mode, say func(string, ...any)) error {
	plan := cfg.Plan
	if len(plan) == 0 {
		plan = NewPlan(cfg.Seed, mode, cfg.Duration)
		if cfg.Exit {
			plan = NewExitPlan(cfg.Seed, mode, cfg.Duration)
		}
	}
	say("the plan:\n%s", plan)
	s, err := newSite(ctx, cfg, siteOptions{
		mode: mode, peers: peers, clock: plan.has(ClockAhead, ClockBack), fewStreams: plan.has(FewStreams),
	}, say)
	if err != nil {
		return err
	}
	sites := []*site{s}
	if plan.has(PauseTarget) && !cfg.Exit {
		if err = s.newAnnex(ctx, cfg, mode); err == nil {
			sites = append(sites, s.annex)
		}
	}
	if err == nil {
		err = s.besideAnnex(ctx, func() error { return s.soak(ctx, plan, cfg.Duration) })
	}
	findings := 0
	for _, one := range sites {
		found, ending := one.finish(err != nil, cfg.LogDir)
		findings, err = findings+found, errors.Join(err, ending)
	}
	if findings > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d in mode %s, seed %d", ErrFindings, findings, mode, cfg.Seed))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", mode, err)
	}
	return nil
}

// finish reports the findings of a site, and removes it.
func (s *site) finish(failed bool, logDir string) (findings int, err error) {
	found := s.tally.report()
	if failed || len(found) > 0 {
		s.say("the lab's processes said:\n%s", s.lab.Logs())
	}
	err = s.keepLogs(logDir)
	crashes, closing := s.close()
	for _, crash := range crashes {
		found = append(found, "a process crashed: "+crash)
	}
	for _, f := range found {
		s.say("FINDING: %s", f)
	}
	return len(found), errors.Join(err, closing)
}

// keepLogs copies the logs to a folder of the site's own in dir. It also writes there
// what went on when.
func (s *site) keepLogs(dir string) error {
	if dir == "" {
		return nil
	}
	dir = filepath.Join(dir, s.logs)
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(s.lab.Dir, "logs"))); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "disturbances"), []byte(s.journal.String()), 0o644)
}

// soak warms up, follows the plan under traffic for at least the duration, and checks.
// Findings go to the tally. An error means that it could not check.
func (s *site) soak(ctx context.Context, plan Plan, duration time.Duration) error {
	before, err := s.warmUp(ctx)
	if err != nil {
		return fmt.Errorf("warm up: %w", err)
	}
	s.say("warm: %s", before)
	s.traffic.start(ctx)
	until := time.Now().Add(duration)
	ended := s.watch()
	err = s.follow(ctx, plan)
	if err == nil {
		sleep(ctx, max(lastCalm, time.Until(until)))
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.tally.judgeSuspects()
		s.sidecar.Kill() // this ends all connections
	}
	s.traffic.stop()
	ended()
	if err != nil {
		return err
	}
	s.tally.judgeSuspects()
	return s.checkEnd(ctx, before)
}

// lastCalm is the least time for which traffic goes on after the last disturbance.
const lastCalm = 3 * time.Second

// warmUp makes what is made only once: connections to both servers, pools, maps.
func (s *site) warmUp(ctx context.Context) (footprint, error) {
	for range 4 {
		if err := s.canaries(ctx); err != nil {
			return footprint{}, err
		}
	}
	if err := s.quiet(ctx); err != nil {
		return footprint{}, err
	}
	if s.exits != nil {
		before, err := s.exits.read(ctx)
		if err != nil {
			return footprint{}, err
		}
		s.exits.before = before
	}
	return s.readFootprint(ctx)
}

// checkEnd looks for leaks, and ends the sidecar.
func (s *site) checkEnd(ctx context.Context, before footprint) error {
	if err := s.quiet(ctx); err != nil {
		s.tally.note("no quiet: %v", err)
	}
	s.tally.judgeSuspects() // those of the canaries
	after, err := s.settle(ctx, before)
	if err != nil {
		s.tally.note("leaked: %v", err)
	}
	s.say("after: %s", after)
	if s.exits != nil {
		after, err := s.exits.settle(ctx)
		if err != nil {
			s.tally.note("an exit leaked: %v", err)
		}
		s.say("the exits before: %s; after: %s", s.exits.before, after)
	}
	s.tally.judgeTargets(s.far)
	strange, ghosts := s.far.oddities()
	for _, err := range strange {
		s.tally.note("a target: %v", err)
	}
	m, err := s.lab.SidecarMetrics(ctx)
	if err != nil {
		return err
	}
	log, err := os.Open(s.sidecar.LogPath)
	if err != nil {
		return err
	}
	defer log.Close()
	reasons, err := s.audit(log, m)
	if err != nil {
		return err
	}
	s.checkExit(ctx)
	s.summarize(m, reasons, ghosts)
	return nil
}

// settle waits until the sidecar uses no more than before.
func (s *site) settle(ctx context.Context, before footprint) (after footprint, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = lab.Poll(ctx, "the sidecar to give back what it took", func(ctx context.Context) error {
		now, err := s.readFootprint(ctx)
		if err != nil {
			return err
		}
		after = now
		return before.grown(now)
	})
	return after, err
}

func (s *site) checkExit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, exitWithin)
	defer cancel()
	if err := s.sidecar.Signal(syscall.SIGTERM); err != nil {
		s.tally.note("SIGTERM: %v", err)
		return
	}
	if code, err := s.sidecar.Wait(ctx); err != nil || code != 0 {
		s.tally.note("after SIGTERM the sidecar ended with code %d, %v; want 0", code, err)
	}
}
