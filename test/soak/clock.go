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

// wallClock is the sidecar's.
type wallClock struct {
	*wallclock.Clock
	offset time.Duration
	seen   map[time.Duration]bool // the offsets that it has had
}

// newClock builds the sidecar anew, so that its wall clock can be stepped.
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

// step moves the clock for good.
func (c *wallClock) step(by time.Duration) error {
	c.offset += by
	c.seen[c.offset] = true
	return c.Set(c.offset)
}

// straightener finds out what the time really was when a clock that is stepped told
// it. Each time that it gets is less than half a step later, or earlier, than the
// one before.
type straightener struct {
	last time.Time
	seen map[time.Duration]bool // the offsets
}

// straighten returns the real time. The first one is real.
func (s *straightener) straighten(told time.Time) time.Time {
	if s.seen == nil {
		s.seen, s.last = map[time.Duration]bool{}, told
	}
	offset := told.Sub(s.last).Round(clockStep)
	s.seen[offset] = true
	s.last = told.Add(-offset)
	return s.last
}

// differs returns an error where the clock has not told the times that it was set to.
func (s *straightener) differs(want map[time.Duration]bool) error {
	if maps.Equal(s.seen, want) {
		return nil
	}
	return fmt.Errorf("the clock was off by %v, want %v", slices.Sorted(maps.Keys(s.seen)), slices.Sorted(maps.Keys(want)))
}
