// SPDX-License-Identifier: Apache-2.0

package repetition

import (
	"testing"
	"time"

	"github.com/shoot-proxy/proxy-client/internal/clocktest"
)

// TestLines: the first events get lines, the others share one at intervals, and none is
// forgotten. When they have stopped, the next one gets a line again.
func TestLines(t *testing.T) {
	t.Parallel()
	var l Lines
	now := time.Now()
	total, own := 0, 0
	add := func(times int) {
		for range times {
			total++
			if l.Add(now) {
				own++
			}
		}
	}
	wants := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	add(100)
	wants("lines at once", own, AtOnce)
	wants("due within the interval", l.Due(now.Add(Interval-1), false), 0)
	for range 3 {
		now = now.Add(Interval)
		wants("due after the interval", l.Due(now, false), total-own)
		own, total = 0, 0
		add(50)
		wants("lines in the next interval", own, 0)
	}
	times, since := l.Silent()
	wants("silent", times, 50)
	if since != now {
		t.Errorf("since %s, want %s", since, now)
	}
	wants("due at the end", l.Due(now, true), 50)
	if l.IsIdle(now) || !l.IsIdle(now.Add(Interval)) {
		t.Error("the events have stopped after an interval without one, not sooner")
	}
	now = now.Add(Interval)
	own = 0
	add(1)
	wants("lines when they begin again", own, 1)
}

// TestSteppedClock: setting the wall clock neither hastens nor delays a line.
func TestSteppedClock(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		var l Lines
		now := time.Now()
		for range AtOnce + 1 {
			l.Add(now)
		}
		if times := l.Due(clocktest.Step(t, now.Add(time.Second), step), false); times != 0 {
			t.Errorf("a clock that was set by %s makes a line due after one second", step)
		}
		if times := l.Due(clocktest.Step(t, now.Add(Interval), step), false); times != 1 {
			t.Errorf("a clock that was set by %s: after %s a line about %d is due, want 1", step, Interval, times)
		}
	}
}
