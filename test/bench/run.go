// SPDX-License-Identifier: Apache-2.0

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
)

// Config says what to measure.
type Config struct {
	// Scale is how much to measure.
	Scale Scale
	// Only, if set, are the works to measure.
	Only []string
	// Contenders, if set, are those to measure.
	Contenders []Contender
	// Bin and TestBin are the folders of the product's and of upstream's binaries;
	// see [lab.Options].
	Bin, TestBin string
	// Out receives the progress, a line for each work.
	Out io.Writer
}

// Run measures everything. If it returns an error, its results are valid but may be
// incomplete.
func Run(ctx context.Context, cfg Config) (_ *Results, err error) {
	b := &bench{cfg: cfg, results: newResults(cfg.Scale)}
	defer func() { err = errors.Join(err, b.grpc.close(), b.connect.close()) }()
	if b.grpc, err = newSite(ctx, cfg, lab.GRPC); err != nil {
		return nil, err
	}
	if b.connect, err = newSite(ctx, cfg, lab.HTTPConnect); err != nil {
		return nil, err
	}
	b.rivals = rivals(b.grpc, b.connect)
	if err := b.atRest(); err != nil {
		return b.results, err
	}
	for _, t := range cfg.Scale.tasks() {
		if !cfg.wants(t.work.Do) {
			continue
		}
		if err := b.compare(ctx, t); err != nil {
			return b.results, err
		}
	}
	if cfg.wants(workHold) {
		err = b.idle(ctx)
	}
	return b.results, err
}

func (c Config) enters(name Contender) bool {
	return len(c.Contenders) == 0 || slices.Contains(c.Contenders, name)
}

func (c Config) wants(work string) bool {
	return len(c.Only) == 0 || slices.Contains(c.Only, work)
}

type bench struct {
	cfg           Config
	grpc, connect *site
	rivals        []rival
	results       *Results
}

func (b *bench) say(format string, args ...any) {
	_, _ = fmt.Fprintf(b.cfg.Out, format+"\n", args...)
}

// atRest measures the memory of sidecars that have done no work yet.
func (b *bench) atRest() error {
	for _, r := range b.rivals {
		if r.sidecar == nil {
			continue
		}
		resident, _, err := memory(r.sidecar().PID())
		if err != nil {
			return err
		}
		b.results.add(AtRest, r.name, resident/(1<<20))
	}
	return nil
}

// compare lets all contenders do a task, round by round. Each round has another order.
func (b *bench) compare(ctx context.Context, t task) error {
	began := time.Now()
	for round := range t.rounds {
		for i := range b.rivals {
			r := b.rivals[(i+round)%len(b.rivals)]
			if !b.cfg.enters(r.name) {
				continue
			}
			if err := b.measure(ctx, t, r); err != nil {
				return err
			}
		}
	}
	b.say("%-12s %s", t.work.Do, time.Since(began).Round(time.Second))
	return nil
}

// attempts is how often a job is tried. Stock clients sometimes lose the bytes that come
// directly behind the answer to their dial.
const attempts = 3

func (b *bench) measure(ctx context.Context, t task, r rival) (err error) {
	for range attempts {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err = b.once(ctx, t, r); err == nil {
			return nil
		}
		b.results.failed(r.name)
		b.say("%s: %v", r.name, err)
	}
	return fmt.Errorf("%s: %w", r.name, err)
}

func (b *bench) once(ctx context.Context, t task, r rival) error {
	work := t.work
	work.Host = lab.ShootPod(lab.IPv4, 1).String()
	before, err := b.cpu(ctx, r)
	if err != nil {
		return err
	}
	figures, err := r.driver.do(Job{Client: r.client, Work: work})
	if err != nil {
		return err
	}
	// What a contender does after its client has closed is part of its cost. It must not
	// be counted for the next one.
	after, err := b.cpu(ctx, r)
	if err != nil {
		return err
	}
	for measured, name := range t.keep {
		b.results.add(name, r.name, figures[measured])
	}
	if used := (after - before).Seconds(); r.sidecar != nil {
		if t.perGiB != "" {
			b.results.add(t.perGiB, r.name, used/float64(work.Bytes)*(1<<30))
		}
		if t.perThousand != "" {
			b.results.add(t.perThousand, r.name, used/float64(work.N)*1000)
		}
	}
	return nil
}

// cpu waits for quiet and returns the processor time of the contender's sidecar so far.
func (b *bench) cpu(ctx context.Context, r rival) (time.Duration, error) {
	if err := r.site.quiet(ctx); err != nil {
		return 0, err
	}
	if r.sidecar == nil {
		return 0, nil
	}
	return cpu(r.sidecar().PID())
}
