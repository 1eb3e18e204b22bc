// SPDX-License-Identifier: Apache-2.0

package soak

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/shoot-proxy/proxy-client/test/lab"
	"github.com/shoot-proxy/proxy-client/test/wallclock"
)

// wallClock is the sidecar's wall clock.
type wallClock struct {
	*wallclock.Clock
	offset time.Duration
	seen   map[time.Duration]bool // the offsets that the clock has had
}

// newClock builds the sidecar again, so that its wall clock can be stepped.
func (s *site) newClock(ctx context.Context) error {
	root, err := lab.RepositoryRoot()
	if err != nil {
		return err
	}
	if err := wallclock.Build(ctx, root, "./cmd/proxy-client", s.lab.ProgramPath("proxy-client")); err != nil {
		return err
	}
	file, err := wallclock.New(filepath.Join(s.lab.Dir, "wall-clock"))
	s.clock = &wallClock{Clock: file, seen: map[time.Duration]bool{0: true}}
	return err
}

// step moves the clock permanently.
func (c *wallClock) step(by time.Duration) error {
	c.offset += by
	c.seen[c.offset] = true
	return c.Set(c.offset)
}

// straightener finds the real time from the times of a clock that is stepped. Each real
// time must lie less than half a step before or after the previous one.
type straightener struct {
	last time.Time
	seen map[time.Duration]bool // the offsets so far
}

// straighten returns the real time. The first time that it gets is real.
func (s *straightener) straighten(told time.Time) time.Time {
	if s.seen == nil {
		s.seen, s.last = map[time.Duration]bool{}, told
	}
	offset := told.Sub(s.last).Round(clockStep)
	s.seen[offset] = true
	s.last = told.Add(-offset)
	return s.last
}

// differs returns an error if the clock has not shown the offsets that were set.
func (s *straightener) differs(want map[time.Duration]bool) error {
	if maps.Equal(s.seen, want) {
		return nil
	}
	return fmt.Errorf("the clock was off by %v, want %v", slices.Sorted(maps.Keys(s.seen)), slices.Sorted(maps.Keys(want)))
}
